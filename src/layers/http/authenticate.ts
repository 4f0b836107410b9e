/** Who a request is from, by its header `Authorization`: Basic (RFC 7617) or Bearer (RFC 6750). */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { type StoreError, Unauthorized } from "../../EventStreamError.js"
import type { Credentials, Identity, Service as Access } from "../../services/Access.js"
import { refused } from "../network/limits.js"

const credentialsOf = (header: string | undefined): Credentials | Unauthorized => {
  if (header === undefined) return new Unauthorized({ reason: "a header Authorization is needed, Basic or Bearer" })
  const [, scheme, value] = /^(\w+) +(\S+)$/.exec(header) ?? []
  switch (scheme?.toLowerCase()) {
    case "bearer":
      return { _tag: "Bearer", token: Redacted.make(value!) }
    case "basic": {
      const text = Buffer.from(value!, "base64").toString("utf8")
      const colon = text.indexOf(":")
      if (colon < 0) break
      return { _tag: "Basic", user: text.slice(0, colon), password: Redacted.make(text.slice(colon + 1)) }
    }
  }
  return new Unauthorized({ reason: "the header Authorization must be Basic or Bearer" })
}

export const authenticate = (
  access: Access,
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<Identity, Unauthorized | StoreError> =>
  Effect.suspend(() => {
    const credentials = credentialsOf(request.headers["authorization"])
    return "message" in credentials ? Effect.fail(credentials) : access.authenticate(credentials)
  }).pipe(Effect.tapError((error) => error._tag === "Unauthorized" ? refused("http", "unauthorized") : Effect.void))
