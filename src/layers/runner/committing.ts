/**
 * A transaction of a handler, again as often as it takes where the database fails it.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { fromCause, isRetryable } from "../../EventStreamError.js"
import type { Service as EventStore } from "../../services/EventStore.js"
import { GaveUp } from "./attempts.js"
import type { Settings } from "./settings.js"

/** The answer to a COMMIT was lost: what became of it is read from the database, by starting again. */
export class Reopen {
  readonly _tag = "Reopen"
}

/** A conflict or a dead connection is the database's failure, not the handler's. */
const ofDatabase = (error: unknown): boolean =>
  error instanceof GaveUp
    ? Option.exists(fromCause(error.cause), ({ retryable }) => retryable)
    : isRetryable(error)

const isUnknown = (error: any): boolean => error._tag === "TransactionFailed" && error.outcome === "unknown"

/** Fails with `GaveUp` where the handler did, with `Reopen`, or with what cannot be repaired by trying again. */
export const committing = <E, R>(
  store: EventStore,
  { isolation }: Settings<R>,
  ident: string,
  effect: Effect.Effect<void, E, R>
): Effect.Effect<void, any, R> =>
  Effect.gen(function*() {
    let conflicts = 0
    while (true) {
      const exit = yield* Effect.exit(store.transaction(effect, { isolation }))
      if (Exit.isSuccess(exit)) return
      const failure = Cause.failureOption(exit.cause)
      if (failure._tag === "Some" && ofDatabase(failure.value)) {
        if (++conflicts === 10) yield* Effect.logWarning(`${ident}: the database fails again and again`, exit.cause)
        yield* Effect.sleep(Math.min(10 * 2 ** conflicts, 2000))
        continue
      }
      return yield* failure._tag === "Some" && isUnknown(failure.value)
        ? Effect.fail(new Reopen())
        : Effect.failCause(exit.cause)
    }
  })
