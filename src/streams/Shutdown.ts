/**
 * Ending in good order: who is at work finishes what it has in hand, nobody begins anything new.
 */
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Shutdown {
  /** Counts as at work until the scope closes. */
  readonly join: Effect.Effect<void, never, Scope.Scope>
  /** Waits for something to begin with; interrupts when the end has come instead. */
  readonly unlessEnding: <A, E, R>(wait: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Succeeds when the end has come. */
  readonly ending: Effect.Effect<void>
  /** Tells everybody, and waits until nobody is at work, but not for longer than that. */
  readonly end: (patience: Duration.DurationInput) => Effect.Effect<void>
}

export const make: Effect.Effect<Shutdown> = Effect.gen(function*() {
  const ending = yield* Deferred.make<void>()
  const nobody = yield* Effect.makeLatch(true)
  let atWork = 0
  const stop = Effect.zipRight(Deferred.await(ending), Effect.interrupt)
  return {
    join: Effect.acquireRelease(
      Effect.sync(() => {
        atWork++
        nobody.unsafeClose()
      }),
      () =>
        Effect.sync(() => {
          if (--atWork === 0) nobody.unsafeOpen()
        })
    ),
    // what need not be waited for would win every race
    unlessEnding: (wait) =>
      Effect.flatMap(Deferred.isDone(ending), (ended) => ended ? Effect.interrupt : Effect.raceFirst(wait, stop)),
    ending: Deferred.await(ending),
    end: (patience) =>
      Effect.zipRight(
        Deferred.succeed(ending, undefined),
        Effect.asVoid(Effect.timeoutOption(Effect.interruptible(nobody.await), patience))
      )
  }
})
