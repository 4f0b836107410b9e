import * as Effect from "effect/Effect"
import { ConsumerFenced, NotRegistered } from "../EventStreamError.js"
import type { Stepped } from "../services/EventStore.js"

/** What keeps out who has lost a consumer, or a partition: by its epoch. */
export interface Fence {
  readonly ident: string
  readonly epoch: bigint
}

export const fenced = ({ epoch, ident }: Fence): ConsumerFenced =>
  new ConsumerFenced({ consumer: ident, epoch: epoch.toString() })

/** Whether a step was taken, as a success or a failure. `consumer`: whose partition it is. */
export const taken =
  (fence: Fence, consumer = fence.ident) => (result: Stepped): Effect.Effect<void, ConsumerFenced | NotRegistered> =>
    result === "done"
      ? Effect.void
      : Effect.fail(result === "fenced" ? fenced(fence) : new NotRegistered({ consumer }))
