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
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { LimitExceeded, OutcomeUnknown, StoreError, Unauthorized } from "../../EventStreamError.js"
import type { Credentials, Service as Access } from "../../services/Access.js"
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

/** What a caller shows (RFC 7617, RFC 6750). */
export const credentialsOf = (header: string | undefined): Credentials | undefined => {
  const [, scheme, value] = /^\s*(basic|bearer)\s+(\S+)\s*$/i.exec(header ?? "") ?? []
  if (scheme === undefined || value === undefined) return undefined
  if (scheme.toLowerCase() === "bearer") return { _tag: "Bearer", token: Redacted.make(value) }
  const decoded = Buffer.from(value, "base64").toString("utf8")
  const colon = decoded.indexOf(":")
  return colon === -1
    ? undefined
    : { _tag: "Basic", user: decoded.slice(0, colon), password: Redacted.make(decoded.slice(colon + 1)) }
}

export const headerOf = (credentials: Exclude<Credentials, { readonly _tag: "Mac" }>): string =>
  credentials._tag === "Bearer"
    ? `Bearer ${Redacted.value(credentials.token)}`
    : `Basic ${Buffer.from(`${credentials.user}:${Redacted.value(credentials.password)}`).toString("base64")}`

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
      const credentials = credentialsOf((headers as Headers)["authorization"])
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
