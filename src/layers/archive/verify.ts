/**
 * Comparing log and history event by event.
 */
import * as Effect from "effect/Effect"
import type { StoredEvent } from "../../Event.js"
import { HistoryMismatch, type StoreError } from "../../EventStreamError.js"
import type { ArchivedEvent, Service as HistoryStore } from "../../services/HistoryStore.js"
import type { Source } from "./source.js"
import { runsOf } from "./write.js"

const page = 1000
/** An event may be erased between the two reads, or just be on its way to that in the history. */
const tries = 5
const pause = "200 millis"

export const make = (
  source: Source,
  history: HistoryStore
): Effect.Effect<number, HistoryMismatch | StoreError> => {
  const compare = (generation: number, events: ReadonlyArray<StoredEvent>) =>
    Effect.gen(function*() {
      const to = events[events.length - 1]!.id as bigint
      const held: Array<ArchivedEvent> = []
      let after = events[0]!.id - 1n
      while (after < to) {
        const rows = yield* history.page({
          after: { generation, id: after },
          upTo: { generation, id: to },
          limit: events.length
        })
        if (rows.length === 0) break
        held.push(...rows)
        after = rows[rows.length - 1]!.id
      }
      return differing(generation, events, held)
    })

  const check = (generation: number, events: ReadonlyArray<StoredEvent>) =>
    Effect.gen(function*() {
      let now = events
      for (let left = tries;; left--) {
        const found = yield* compare(generation, now)
        if (found === undefined) return
        if (left === 1) return yield* found
        yield* Effect.sleep(pause)
        const after = events[0]!.id - 1n
        const read = yield* source.page({ after, upTo: events[events.length - 1]!.id, limit: page })
        const fresh = new Map<bigint, StoredEvent>(read.map((event) => [event.id, event]))
        now = events.map((event) => fresh.get(event.id) ?? event)
      }
    })

  return Effect.gen(function*() {
    const { cursor = 0n } = yield* source.look
    let compared = 0
    let after = 0n
    while (after < cursor) {
      const events = yield* source.page({ after, upTo: cursor, limit: page })
      if (events.length === 0) break
      const generations = yield* source.generations
      for (const run of runsOf(generations, events)) yield* check(run.generation, run.events)
      compared += events.length
      after = events[events.length - 1]!.id
    }
    return compared
  })
}

const differing = (
  generation: number,
  events: ReadonlyArray<StoredEvent>,
  held: ReadonlyArray<ArchivedEvent>
): HistoryMismatch | undefined => {
  const mismatch = (kind: "lost" | "differs" | "ahead", id: bigint, detail: string) =>
    new HistoryMismatch({ kind, generation, after: id - 1n, upTo: id, detail })
  const rows = new Map<bigint, ArchivedEvent>(held.map((row) => [row.id, row]))
  for (const event of events) {
    const row = rows.get(event.id)
    if (row === undefined) return mismatch("lost", event.id, "the history does not hold it, the log does.")
    rows.delete(event.id)
    for (const field of ["uid", "type", "key", "keyHash", "meta", "data", "ts"] as const) {
      if (event[field] !== row[field]) {
        return mismatch("differs", event.id, `its ${field} is not the same in the log and in the history.`)
      }
    }
  }
  for (const id of rows.keys()) return mismatch("ahead", id, "the history holds it, the log does not.")
  return undefined
}
