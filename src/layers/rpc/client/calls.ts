/**
 * Calls of the server, with the errors that the services have: what the network does, and what the server says of the
 * caller, is a `StoreError`.
 */
import { RpcClientError } from "@effect/rpc/RpcClientError"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as Headers from "@effect/platform/Headers"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Forbidden, LimitExceeded, StoreError, Unauthorized } from "../../../EventStreamError.js"
import { headerOf } from "../../network/authorization.js"
import { Authentication } from "../auth.js"
import { Group, type Problem } from "../group.js"
import * as Http from "./http.js"
import type { Settings } from "./options.js"
import * as Socket from "./socket.js"

type Raw = Problem | Unauthorized | RpcClientError

/** What is left of the errors of the wire. */
export type Answered = Exclude<Problem, Forbidden | LimitExceeded>

const storeError = (operation: string, reason: StoreError["reason"], retryable: boolean, cause: unknown) =>
  new StoreError({ operation, reason, retryable, cause })

const lost = (operation: string, cause: unknown) => storeError(operation, "connection", true, cause)

const translated = (operation: string, error: Raw): Answered => {
  if (error instanceof RpcClientError) return lost(operation, error)
  if (error instanceof Unauthorized || error instanceof Forbidden) {
    return storeError(operation, "permission", false, error)
  }
  return error instanceof LimitExceeded ? storeError(operation, "busy", true, error) : error
}

/**
 * A call that ends as if it was interrupted, while its caller is not, was cut off with its connection, or by the end of the
 * server.
 */
const settled = (operation: string, cause: Cause.Cause<Raw>): Answered => {
  const failure = Cause.failureOption(cause)
  if (Option.isSome(failure)) return translated(operation, failure.value)
  if (Cause.isInterruptedOnly(cause)) return lost(operation, new Error("the server has ended the call"))
  return storeError(operation, "other", false, Cause.squash(cause))
}

/** Whether the server cannot have seen what was sent. */
export const isUnsent = (error: StoreError): boolean =>
  error.cause instanceof RpcClientError && error.cause.cause instanceof Socket.NotSent

/** Calls of one client that may wait for an answer: fewer than the server allows, so that none is refused. */
const atATime = 24

export const make = (settings: Settings) =>
  Effect.gen(function*() {
    const protocol = yield* (settings.transport === "socket" ? Socket.make(settings) : Http.make(settings))
    const authorization = headerOf(settings.credentials)
    const client = yield* RpcClient.make(Group, { disableTracing: true }).pipe(
      Effect.provideService(RpcClient.Protocol, protocol),
      Effect.provide(RpcMiddleware.layerClient(Authentication, ({ request }) =>
        Effect.succeed({ ...request, headers: Headers.set(request.headers, "authorization", authorization) })))
    )
    const { withPermits } = yield* Effect.makeSemaphore(atATime)
    const call = <A>(
      operation: string,
      effect: Effect.Effect<A, Raw>,
      duration: Duration.DurationInput = settings.timeLimit
    ): Effect.Effect<A, Answered> =>
      withPermits(1)(effect.pipe(
        Effect.catchAllCause((cause) =>
          Effect.fail(settled(operation, cause))
        ),
        Effect.timeoutFail({
          duration,
          onTimeout: () => storeError(operation, "timeout", true, new Error("the server has not answered in time"))
        })
      ))
    const flow = <A>(operation: string, stream: Stream.Stream<A, Raw>): Stream.Stream<A, Answered> =>
      Stream.catchAllCause(stream, (cause) => Stream.fail(settled(operation, cause)))
    return { client, call, flow, settings }
  })

export type Calls = Effect.Effect.Success<ReturnType<typeof make>>
