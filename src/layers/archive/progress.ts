/**
 * How far archiving is and how fast, of one run.
 */
import type { EventId } from "../../EventId.js"
import type { Progress } from "../../services/Archiver.js"

const window = 5000
const mostSamples = 200

export interface Meter {
  upTo: bigint | undefined
  head: bigint
  /** When the end of the log was read. */
  lookedAt: number
  readonly add: (events: number, now: number) => void
  readonly progress: () => Progress
}

export const make = (startedAt: number): Meter => {
  let archived = 0
  let samples: Array<readonly [at: number, archived: number]> = [[startedAt, 0]]
  const meter: Meter = {
    upTo: undefined,
    head: 0n,
    lookedAt: -Infinity,
    add: (events, now) => {
      archived += events
      samples.push([now, archived])
      const old = samples.findIndex(([at]) => at >= now - window)
      samples = samples.slice(Math.max(0, Math.min(old, samples.length - 2), samples.length - mostSamples))
    },
    progress: () => {
      const [from, before] = samples[0]!
      const [to, after] = samples[samples.length - 1]!
      const rate = to > from ? (after - before) / ((to - from) / 1000) : 0
      const behind = Math.max(0, Number(meter.head - (meter.upTo ?? 0n)))
      return {
        archived,
        upTo: meter.upTo as EventId | undefined,
        behind,
        rate,
        remaining: behind === 0 ? 0 : rate > 0 ? behind / rate * 1000 : undefined
      }
    }
  }
  return meter
}
