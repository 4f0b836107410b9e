/**
 * Seeing the commits of others sooner than the next poll would, where the database has something cheap to ask: SQLite
 * counts the commits of other connections (`PRAGMA data_version`), in shared memory, without reading the file.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Service as EventStore } from "../services/EventStore.js"

const pause = "20 millis"

export const background = (store: EventStore): Effect.Effect<void, never, Scope.Scope> => {
  const { changes } = store
  if (changes === undefined) return Effect.void
  let last: unknown
  return Effect.asVoid(Effect.forkScoped(Effect.forever(Effect.zipRight(
    Effect.sleep(pause),
    Effect.ignore(Effect.map(changes, (now) => {
      if (last !== undefined && now !== last) store.hint("elsewhere")
      last = now
    }))
  ))))
}
