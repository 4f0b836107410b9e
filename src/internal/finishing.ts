/**
 * Interruption that lets what was begun come to its end, but not for ever.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** How long an interrupted caller waits for the statement in flight. */
export const patience = Duration.seconds(5)

/** Runs `effect` to its end; an interrupted caller waits for that, `patience` long. */
export const finishing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(effect),
      (fiber) =>
        restore(Fiber.join(fiber)).pipe(
          Effect.onInterrupt(() =>
            Effect.asVoid(Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), patience))
          )
        )
    )
  )

/** The same for what may take longer, with pauses: when the caller has waited long enough it is interrupted, too. */
export const finishingSoon = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(Effect.interruptible(effect)),
      (fiber) =>
        restore(Fiber.join(fiber)).pipe(
          Effect.onInterrupt(() =>
            Effect.timeoutOption(Effect.interruptible(Fiber.await(fiber)), patience).pipe(
              Effect.zipRight(Fiber.interruptFork(fiber))
            )
          )
        )
    )
  )
