/**
 * What to do with a stream of deliveries.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Batch, Delivery } from "../services/Poller.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Batch,
  /**
   * @since 0.1.0
   * @category models
   */
  Delivery
}

/**
 * Handles each batch and acknowledges it when its handler has succeeded, and not before. When the handler fails the
 * stream fails and the batch is delivered again to the next one who consumes: at least once. Batches without events
 * (where nothing of what was looked at is wanted) are acknowledged without calling the handler.
 *
 * ```ts
 * poller.stream("MAILER", { want: [UserAdded] }).pipe(
 *   Delivery.handle((events) => Effect.forEach(events, send)),
 *   Stream.runDrain
 * )
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const handle: {
  <E, A, X, R>(
    handler: (events: ReadonlyArray<E>, batch: Batch<E>) => Effect.Effect<A, X, R>
  ): <X1, X2, R2>(self: Stream.Stream<Delivery<E, X1>, X2, R2>) => Stream.Stream<A, X | X1 | X2, R | R2>
  <E, X1, X2, R2, A, X, R>(
    self: Stream.Stream<Delivery<E, X1>, X2, R2>,
    handler: (events: ReadonlyArray<E>, batch: Batch<E>) => Effect.Effect<A, X, R>
  ): Stream.Stream<A, X | X1 | X2, R | R2>
} = dual(
  2,
  <E, X1, X2, R2, A, X, R>(
    self: Stream.Stream<Delivery<E, X1>, X2, R2>,
    handler: (events: ReadonlyArray<E>, batch: Batch<E>) => Effect.Effect<A, X, R>
  ): Stream.Stream<A, X | X1 | X2, R | R2> =>
    self.pipe(
      Stream.mapEffect(({ ack, batch }) =>
        batch.events.length === 0
          ? Effect.as(ack, Option.none<A>())
          : Effect.zipLeft(Effect.asSome(handler(batch.events, batch)), ack)
      ),
      Stream.filterMap((answer) => answer)
    )
)
