/**
 * Writing events into the history, each run of one generation with a check of both sides.
 *
 * The source is summed after the history has committed. An event that is erased in the stream meanwhile is either erased
 * before that, then the sums differ and it is erased here; or after it, then whoever erases it finds it in the history.
 */
import * as Effect from "effect/Effect"
import type { StoredEvent } from "../../Event.js"
import { HistoryMismatch, type StoreError } from "../../EventStreamError.js"
import { isRedacted } from "../../internal/redacted.js"
import type { Generation } from "../../services/EventStore.js"
import type { Service as HistoryStore } from "../../services/HistoryStore.js"
import type { Source } from "./source.js"
import { printSums, sameSums, sumsOf } from "./sums.js"

/** The generation whose range an id is in. */
export const generationOf = (generations: ReadonlyArray<Generation>, id: bigint): Generation => {
  let found = generations[0] ?? { generation: 1, after: 0n }
  for (const generation of generations) if (generation.after < id) found = generation
  return found
}

interface Run {
  readonly generation: number
  readonly events: ReadonlyArray<StoredEvent>
}

/** Events in order of ids, cut where the generation changes. */
export const runsOf = (
  generations: ReadonlyArray<Generation>,
  events: ReadonlyArray<StoredEvent>
): ReadonlyArray<Run> => {
  const runs: Array<{ generation: number; events: Array<StoredEvent> }> = []
  for (const event of events) {
    const { generation } = generationOf(generations, event.id)
    const run = runs[runs.length - 1]
    if (run?.generation === generation) run.events.push(event)
    else runs.push({ generation, events: [event] })
  }
  return runs
}

export const make = (source: Source, history: HistoryStore) => {
  const writeRun = ({ events, generation }: Run): Effect.Effect<void, StoreError | HistoryMismatch> =>
    Effect.gen(function*() {
      const from = events[0]!.id as bigint
      const to = events[events.length - 1]!.id as bigint
      const range = { generation, from, to }
      const written = yield* history.append(events.map((event) => ({ ...event, generation })), range)
      const wanted = source.sums === undefined ? sumsOf(events) : yield* source.sums(from, to)
      if (sameSums(written, wanted)) return
      const again = new Map<bigint, StoredEvent>()
      for (let after = from - 1n; after < to;) {
        const page = yield* source.page({ after, upTo: to, limit: events.length })
        for (const event of page) again.set(event.id, event)
        after = page[page.length - 1]?.id ?? to
      }
      const now = events.map((event) => again.get(event.id) ?? event)
      const ids = now.filter(isRedacted).map(({ id }) => id)
      if (ids.length > 0) yield* history.redact({ ids })
      const found = yield* history.sums(range)
      const expected = sumsOf(now)
      if (sameSums(found, expected)) return
      return yield* new HistoryMismatch({
        kind: "differs",
        generation,
        after: from - 1n,
        upTo: to,
        detail:
          `the stream has ${printSums(expected)}, the history ${
            printSums(found)
          }. Compare the rows of both. If events were erased in the history only, erase them in the stream again; if the ` +
          `history was changed, put it right by hand.`
      })
    })

  return (events: ReadonlyArray<StoredEvent>): Effect.Effect<void, StoreError | HistoryMismatch> =>
    Effect.flatMap(
      source.generations,
      (generations) => Effect.forEach(runsOf(generations, events), writeRun, { discard: true })
    )
}
