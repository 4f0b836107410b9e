/**
 * What a failure is for a client of FutoIn: one of the standard errors, or one that the function declares. Names beyond
 * those would reach its application as InternalError.
 */
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type { Forbidden, LimitExceeded, Unauthorized } from "../../EventStreamError.js"
import type { PollError } from "../../services/Poller.js"
import type { SubscribeError } from "../../services/Pusher.js"
import type { Desk } from "../network/desk.js"

export type ErrorName =
  | "UnknownInterface"
  | "NotSupportedVersion"
  | "NotImplemented"
  | "InternalError"
  | "InvalidRequest"
  | "DefenseRejected"
  | "SecurityError"
  | "NotRegistered"
  | "LiveNotAllowed"

/** A request that is not done, as its sender is told. */
export class Refusal extends Data.TaggedError("Refusal")<{ readonly error: ErrorName; readonly text: string }> {}

export const refusal = (error: ErrorName, text: string): Refusal => new Refusal({ error, text })
export const invalid = (text: string): Refusal => refusal("InvalidRequest", text)

/** Every failure of what the functions call. */
export type Failure =
  | Refusal
  | PollError
  | SubscribeError
  | Forbidden
  | LimitExceeded
  | Unauthorized
  | Effect.Effect.Error<ReturnType<Desk["append"]>>
  | Effect.Effect.Error<ReturnType<Desk["register"]>>

/** A user may not do something: in the words of the original. */
const forbidden = ({ needs }: Forbidden): string => {
  if (needs.endsWith("as a registered consumer")) return "Only LIVE delivery is allowed"
  if (needs === "poll") return "Only event push is allowed"
  if (needs === "push") return "Event push is not allowed"
  return `Not allowed: ${needs}`
}

export const toRefusal = (failure: Failure): Refusal => {
  switch (failure._tag) {
    case "Refusal":
      return failure
    case "NotRegistered":
      return refusal("NotRegistered", "The consumer is not registered")
    case "LiveNotAllowed":
      return refusal("LiveNotAllowed", "Live consumer should not register")
    case "Forbidden":
      return refusal("SecurityError", forbidden(failure))
    case "ConsumerExclusive":
      return refusal("SecurityError", "Only event push is allowed")
    case "Unauthorized":
      return refusal("SecurityError", failure.message)
    case "LimitExceeded":
    case "ConsumerBusy":
      return refusal("DefenseRejected", failure.message)
    case "InvalidEvent":
    case "InvalidConsumer":
    case "InvalidOption":
    case "CursorAhead":
    case "StreamChanged":
    case "EventsDiscarded":
      return invalid(failure.message)
    case "OutcomeUnknown":
      return refusal("InternalError", "It is not known whether the event is stored")
    // what the database says stays here
    case "StoreError":
      return refusal("InternalError", `The database does not answer as it should (${failure.reason})`)
    case "ConsumerFenced":
    case "InsideTransaction":
      return refusal("InternalError", failure._tag)
  }
}
