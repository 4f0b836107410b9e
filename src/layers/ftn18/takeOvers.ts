/**
 * How long a receiver waits before it takes the place of another one: not at all if it is the first in a minute, as after a
 * connection that died; longer and longer where clients take it from each other.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export interface TakeOvers {
  readonly wait: (ident: string) => Effect.Effect<void>
}

const quiet = 60_000
const first = 1000
const longest = 10_000
/** So many consumers are remembered. */
const most = 10_000

export const make = (): TakeOvers => {
  const recent = new Map<string, { readonly at: number; readonly count: number }>()
  return {
    wait: (ident) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const last = recent.get(ident)
        const count = last === undefined || now - last.at > quiet ? 0 : last.count
        recent.delete(ident)
        recent.set(ident, { at: now, count: count + 1 })
        if (recent.size > most) recent.delete(recent.keys().next().value!)
        if (count === 0) return Effect.void
        return Effect.zipRight(
          Effect.logWarning(`Two receivers of ${ident} take it from each other: one client too many is running`),
          Effect.sleep(Math.min(longest, first * 2 ** (count - 1)))
        )
      })
  }
}
