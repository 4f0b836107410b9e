/**
 * How consumers are named on the wire: a bare component is the caller's own.
 */
import * as Either from "effect/Either"
import * as Consumer from "../../../Consumer.js"
import { type InvalidConsumer, LiveNotAllowed } from "../../../EventStreamError.js"
import type { From } from "../../../services/Poller.js"
import { startOf } from "../../reader.js"
import * as Effect from "effect/Effect"
import type * as Wire from "../wire.js"

export const whoOf = (consumer: Consumer.Consumer): Either.Either<Wire.Who, InvalidConsumer> =>
  Either.map(
    Consumer.ident(consumer),
    () =>
      typeof consumer === "string" ? { component: consumer } : { user: consumer.user, component: consumer.component }
  )

/** The same for what is registered. */
export const registeredWho = (
  operation: string,
  consumer: Consumer.Consumer
): Either.Either<Wire.Who, InvalidConsumer | LiveNotAllowed> =>
  Either.flatMap(
    whoOf(consumer),
    (who): Either.Either<Wire.Who, LiveNotAllowed> =>
      Consumer.isLive(consumer) ? Either.left(new LiveNotAllowed({ operation })) : Either.right(who)
  )

export const fromOf = (from: From): Effect.Effect<Wire.From, Effect.Effect.Error<ReturnType<typeof startOf>>> =>
  startOf(from)
