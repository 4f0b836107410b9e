/** Who a request is from, by its header `Authorization`: Basic (RFC 7617) or Bearer (RFC 6750). */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import { type StoreError, Unauthorized } from "../../EventStreamError.js"
import type { Identity, Service as Access } from "../../services/Access.js"
import { credentialsOf } from "../network/authorization.js"
import { refused } from "../network/limits.js"

export const authenticate = (
  access: Access,
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<Identity, Unauthorized | StoreError> =>
  Effect.suspend(() => {
    const header = request.headers["authorization"]
    const credentials = header === undefined ? undefined : credentialsOf(header)
    return credentials === undefined
      ? new Unauthorized({
        reason: header === undefined
          ? "a header Authorization is needed, Basic or Bearer"
          : "the header Authorization must be Basic or Bearer"
      })
      : access.authenticate(credentials)
  }).pipe(Effect.tapError((error) => error._tag === "Unauthorized" ? refused("http", "unauthorized") : Effect.void))
