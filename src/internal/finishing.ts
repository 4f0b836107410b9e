/**
 * Interruption that lets what was begun come to its end, but not for ever.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** How long an interrupted caller waits for the statement in flight. */
export const patience = Duration.seconds(5)

/** What an interrupted caller does about an answer that is on its way: waits for it, `patience` long. */
export const settled = (answer: Effect.Effect<unknown, unknown>): Effect.Effect<void> =>
  Effect.asVoid(Effect.timeoutOption(Effect.exit(Effect.interruptible(answer)), patience))

/** Waits, when it is interrupted, until `effect` has come to its end or `patience` is over. */
const waiting = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  afterwards: (fiber: Fiber.RuntimeFiber<A, E>) => Effect.Effect<void>
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(effect),
      (fiber) =>
        restore(Fiber.join(fiber)).pipe(
          Effect.onInterrupt(() => Effect.zipRight(settled(Fiber.await(fiber)), afterwards(fiber)))
        )
    )
  )

/** Runs `effect` to its end; an interrupted caller waits for that, `patience` long. */
export const finishing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  waiting(effect, () => Effect.void)

/** The same for what may take longer, with pauses: when the caller has waited long enough it is interrupted, too. */
export const finishingSoon = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  waiting(Effect.interruptible(effect), Fiber.interruptFork)
