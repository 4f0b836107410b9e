/**
 * Who calls: from the header `authorization` of each call, `Basic` or `Bearer`, by the port `Access`. The same place counts
 * the calls of a user, and keeps what goes wrong inside of a handler from the caller and from its other calls.
 */
import type { Headers } from "@effect/platform/Headers"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { LimitExceeded, OutcomeUnknown, StoreError, Unauthorized } from "../../EventStreamError.js"
import type { Service as Access } from "../../services/Access.js"
import { credentialsOf } from "../network/authorization.js"
import type { Desk } from "../network/desk.js"
import type * as Limits from "../network/limits.js"

/** The caller of a call. */
export class Caller extends Context.Tag("effect-eventstream/rpc/Caller")<Caller, {
  readonly desk: Desk
  readonly connection: Limits.Connection
}>() {}

export class Authentication extends RpcMiddleware.Tag<Authentication>()("effect-eventstream/rpc/Authentication", {
  provides: Caller,
  failure: Schema.Union(Unauthorized, LimitExceeded, StoreError),
  wrap: true,
  requiredForClient: true
}) {}

/** Streams last: they take a place of a subscription instead. */
const lasting = new Set(["Subscribe", "Live"])

/** Causes name hosts, statements and files: they are for the log of the server. */
const withoutCause = <E>(error: E): E =>
  error instanceof StoreError
    ? new StoreError({ operation: error.operation, reason: error.reason, retryable: error.retryable }) as E
    : error instanceof OutcomeUnknown
    ? new OutcomeUnknown({ uids: error.uids }) as E
    : error

export const layer = (options: {
  readonly access: Access
  readonly deskOf: (identity: Desk["identity"]) => Desk
  /** The connection that a call came by; undefined if it is gone. */
  readonly connectionOf: (clientId: number) => Limits.Connection | undefined
}): Layer.Layer<Authentication> =>
  Layer.succeed(Authentication, ({ clientId, headers, next, rpc }) =>
    Effect.gen(function*() {
      const connection = options.connectionOf(clientId)
      if (connection === undefined) return yield* Effect.interrupt
      const credentials = credentialsOf((headers as Headers)["authorization"] ?? "")
      if (credentials === undefined) return yield* new Unauthorized({ reason: "credentials are needed" })
      const identity = yield* options.access.authenticate(credentials)
      const handled = Effect.provideService(next, Caller, { desk: options.deskOf(identity), connection })
      return yield* lasting.has(rpc._tag)
        ? Effect.scoped(Effect.zipRight(connection.subscription(identity.user), handled))
        : connection.request(identity.user, handled)
    }).pipe(
      Effect.mapError(withoutCause),
      Effect.catchAllDefect((defect) =>
        Effect.zipRight(
          Effect.logError(`rpc: ${rpc._tag} failed`, Cause.die(defect)),
          Effect.fail(new StoreError({ operation: rpc._tag, reason: "other", retryable: false }))
        )
      )
    ))
