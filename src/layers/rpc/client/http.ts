/**
 * The client's side of HTTP: a POST for each call. A response that ends without an answer is a lost connection.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { serialization } from "../messages.js"
import type { Settings } from "./options.js"

const failed = (message: string, cause?: unknown) => new RpcClientError({ reason: "Protocol", message, cause })

/** A response that says nothing for so long is given up: the server ends streams, and answers, sooner. */
const longestSilence = 40_000

export const make = (
  settings: Settings
): Effect.Effect<RpcClient.Protocol["Type"], never, Scope.Scope> =>
  RpcClient.Protocol.make((writeResponse) =>
    Effect.gen(function*() {
      const given = yield* Effect.serviceOption(FetchHttpClient.Fetch)
      const fetch = Option.getOrElse(given, () => globalThis.fetch)
      const { contentType, unsafeMake } = serialization(256 * 1024 * 1024)
      const aborts = new Map<string, AbortController>()

      const post = (id: string, body: Uint8Array) =>
        Effect.gen(function*() {
          const abort = new AbortController()
          aborts.set(id, abort)
          const response = yield* Effect.tryPromise({
            try: () =>
              fetch(settings.url, {
                method: "POST",
                body: body as Uint8Array<ArrayBuffer>,
                headers: { "content-type": contentType },
                signal: abort.signal
              }),
            catch: (cause) => failed("the connection failed", cause)
          })
          if (response.status !== 200 || response.body === null) {
            abort.abort()
            return yield* failed(`the server answers ${response.status}`)
          }
          const reader = response.body.getReader()
          const parser = unsafeMake()
          let answered = false
          while (true) {
            const { done, value } = yield* Effect.tryPromise({
              try: () => reader.read(),
              catch: (cause) => failed("the connection is lost", cause)
            }).pipe(
              Effect.timeoutFail({ duration: longestSilence, onTimeout: () => failed("the connection is silent") })
            )
            if (done) break
            const responses = yield* Effect.try({
              try: () => parser.decode(value) as ReadonlyArray<FromServerEncoded>,
              catch: (cause) => failed("the server does not speak this protocol", cause)
            })
            for (const response of responses) {
              if (response._tag === "Exit") answered = true
              yield* writeResponse(response)
            }
          }
          if (!answered) return yield* failed("the connection is lost")
        }).pipe(
          Effect.ensuring(Effect.sync(() => {
            aborts.get(id)?.abort()
            aborts.delete(id)
          }))
        )

      return {
        send: (request) => {
          if (request._tag === "Interrupt") return Effect.sync(() => aborts.get(request.requestId)?.abort())
          if (request._tag !== "Request") return Effect.void
          return post(request.id, unsafeMake().encode(request) as Uint8Array)
        },
        supportsAck: false,
        supportsTransferables: false
      }
    })
  )
