/**
 * Where archiving goes on, by what the history holds.
 *
 * The cursor is read before the history, and the end of the log after it: another archiver may be at work, which writes
 * to the history before it moves the cursor, and only what is in the log.
 */
import * as Effect from "effect/Effect"
import type { StoredEvent } from "../../Event.js"
import { HistoryMismatch, type StoreError } from "../../EventStreamError.js"
import type { Service as HistoryStore } from "../../services/HistoryStore.js"
import type { Source } from "./source.js"
import { generationOf } from "./write.js"

export const make = (
  source: Source,
  history: HistoryStore,
  write: (events: ReadonlyArray<StoredEvent>) => Effect.Effect<void, StoreError | HistoryMismatch>,
  limit: number
): Effect.Effect<void, StoreError | HistoryMismatch> => {
  const again = (from: bigint, upTo: bigint) =>
    Effect.gen(function*() {
      yield* Effect.logWarning(`The history has lost events after ${from} up to ${upTo}. Archiving them again`)
      for (let after = from; after < upTo;) {
        const page = yield* source.page({ after, upTo, limit })
        if (page.length === 0) return
        yield* write(page)
        after = page[page.length - 1]!.id
      }
    })

  return Effect.gen(function*() {
    const { cursor } = yield* source.look
    const { discardedTo } = yield* source.retention
    const generations = yield* source.generations
    const claimed = yield* history.claim({ stream: source.stream, since: cursor === undefined ? discardedTo : 0n })
    if (claimed.stream !== source.stream) {
      const last = yield* history.last()
      return yield* new HistoryMismatch({
        kind: "stream",
        generation: last?.generation ?? 1,
        after: 0n,
        upTo: last?.id ?? 0n,
        detail: `it is the history of the stream ${claimed.stream}, this is the stream ${source.stream}. ` +
          `Give each stream a history of its own, by its database or its prefix.`
      })
    }
    if (cursor !== undefined && cursor > 0n) {
      const { after, generation } = generationOf(generations, cursor)
      const last = (yield* history.last(generation))?.id ?? 0n
      const held = [after, claimed.since].reduce((a, b) => a > b ? a : b, last)
      if (held < cursor) {
        if (discardedTo > held) {
          return yield* new HistoryMismatch({
            kind: "lost",
            generation,
            after: held,
            upTo: discardedTo < cursor ? discardedTo : cursor,
            detail:
              `they were archived and have left the stream, and the history does not hold them. Is it the right ` +
              `database? Put it back from a backup. To begin a new history on purpose, unregister ARCHIVER and start again.`
          })
        }
        yield* again(held, cursor)
      }
    }
    const newest = yield* history.last()
    const { head } = yield* source.look
    const current = generations[generations.length - 1]!
    if (
      newest !== undefined &&
      (newest.generation > current.generation || (newest.generation === current.generation && newest.id > head))
    ) {
      return yield* new HistoryMismatch({
        kind: "ahead",
        generation: newest.generation,
        after: newest.generation === current.generation ? head : 0n,
        upTo: newest.id,
        detail:
          `the stream is in generation ${current.generation} and has not given these ids: its database was put back ` +
          `in time. Run \`evt restored\`, which begins a new generation.`
      })
    }
  })
}
