/**
 * The client's side of a WebSocket. It is made when a call needs one, shared by all calls, and made again by the next call
 * after it was lost: how long to go on trying is up to each caller. A loss fails all calls that wait for an answer; they
 * learn whether their message had left.
 */
import * as Socket from "@effect/platform/Socket"
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { serialization } from "../messages.js"
import type { Settings } from "./options.js"

/** The message has not left: the server cannot have seen it. */
export class NotSent extends Error {}

const failed = (message: string, cause: unknown) => new RpcClientError({ reason: "Protocol", message, cause })

/** At least that long may it take until a connection is open, milliseconds. */
const openTimeout = 2000

interface Live {
  readonly send: (data: Uint8Array | string) => void
}

type WebSocket = globalThis.WebSocket & { readonly terminate?: () => void }

/** `ws` on Node, whose own WebSocket came later than our oldest Node. */
const constructorOfNode = Effect.tryPromise({
  try: async () => {
    const { WebSocket } = await import("ws")
    return (url: string) => new WebSocket(url, { perMessageDeflate: false }) as never as WebSocket
  },
  catch: (cause) => cause
})

export const make = (
  settings: Settings
): Effect.Effect<RpcClient.Protocol["Type"], never, Scope.Scope> =>
  RpcClient.Protocol.make((writeResponse) =>
    Effect.gen(function*() {
      const given = yield* Effect.serviceOption(Socket.WebSocketConstructor)
      const construct = Option.isSome(given) ? Effect.succeed(given.value) : constructorOfNode
      const { unsafeMake } = serialization(256 * 1024 * 1024)
      const encoder = unsafeMake()
      const run = yield* FiberSet.makeRuntime<never>()
      const scope = yield* Effect.scope
      let current: Deferred.Deferred<Live, RpcClientError> | undefined

      /** Answers with a socket that is open, then lives until it is lost. */
      const connection = (ready: Deferred.Deferred<Live, RpcClientError>) =>
        Effect.async<void, RpcClientError>((resume) => {
          let socket: WebSocket
          let open = false
          let heardAt = Date.now()
          let pingedAt: number | undefined
          const parser = unsafeMake()
          const end = (why: string, cause?: unknown) => {
            clearInterval(watching)
            for (const name of ["open", "message", "close", "error"] as const) {
              socket?.removeEventListener(name, on[name])
            }
            // errors that come after it are nobody's
            socket?.addEventListener("error", () => {})
            if (socket?.terminate === undefined) socket?.close()
            else socket.terminate()
            resume(Effect.fail(failed(why, open ? cause : new NotSent(why, { cause }))))
          }
          const heartbeat = Duration.toMillis(settings.heartbeat)
          const startedAt = Date.now()
          const watching = setInterval(() => {
            const now = Date.now()
            if (!open) {
              if (now - startedAt > Math.max(openTimeout, 2 * heartbeat)) end("the server does not answer")
            } else if (pingedAt !== undefined && now - pingedAt > heartbeat) end("the connection is silent")
            else if (pingedAt === undefined && now - heardAt > heartbeat) {
              pingedAt = now
              socket.send(encoder.encode({ _tag: "Ping" }) as Uint8Array<ArrayBuffer>)
            }
          }, Math.min(1000, heartbeat / 4))
          const on = {
            open: () => {
              open = true
              heardAt = Date.now()
              Deferred.unsafeDone(
                ready,
                Effect.succeed({ send: (data) => socket.send(data as Uint8Array<ArrayBuffer>) })
              )
            },
            message: (event: Event) => {
              heardAt = Date.now()
              pingedAt = undefined
              try {
                const { data } = event as unknown as { readonly data: ArrayBuffer | string }
                const responses = parser.decode(typeof data === "string" ? data : new Uint8Array(data))
                for (const response of responses) run(writeResponse(response as FromServerEncoded))
              } catch (cause) {
                end("the server does not speak this protocol", cause)
              }
            },
            close: (event: Event) => {
              const { code, reason } = event as unknown as { readonly code: number; readonly reason: string }
              end(`the connection was closed (${code}${reason === "" ? "" : ` ${reason}`})`)
            },
            error: (event: Event) => end("the connection failed", (event as { readonly error?: unknown }).error)
          }
          run(Effect.match(construct, {
            onSuccess: (construct) => {
              try {
                socket = construct(settings.url)
                socket.binaryType = "arraybuffer"
                for (const name of ["open", "message", "close", "error"] as const) {
                  socket.addEventListener(name, on[name])
                }
              } catch (cause) {
                end("the connection failed", cause)
              }
            },
            onFailure: (cause) =>
              end("a WebSocket needs the package ws, or a WebSocketConstructor in the context", cause)
          }))
          return Effect.sync(() => end("the client was closed"))
        })

      const connect = Effect.suspend(() => {
        if (current !== undefined) return Deferred.await(current)
        const ready = Deferred.unsafeMake<Live, RpcClientError>(undefined as never)
        current = ready
        const living = Effect.catchAll(connection(ready), (error) =>
          Effect.suspend(() => {
            current = undefined
            // before it was open nobody had sent anything: who waits for it is told by that
            return Effect.flatMap(
              Deferred.fail(ready, error),
              (waiting) => waiting ? Effect.void : writeResponse({ _tag: "ClientProtocolError", error })
            )
          }))
        return Effect.zipRight(Effect.forkIn(Effect.interruptible(living), scope), Deferred.await(ready))
      })

      return {
        send: (request) => {
          // of a connection that is lost there is nothing to take back
          if (request._tag !== "Request" && current === undefined) return Effect.void
          return Effect.flatMap(connect, ({ send }) =>
            Effect.try({
              try: () => {
                const data = encoder.encode(request)
                if (data !== undefined) send(data)
              },
              catch: (cause) => failed("the connection is closed", new NotSent("closed", { cause }))
            }))
        },
        supportsAck: true,
        supportsTransferables: false
      }
    })
  )
