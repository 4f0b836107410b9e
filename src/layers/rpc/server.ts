/**
 * Serving a stream: both transports over one set of limits, on a server of Node or in a program's own router.
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Socket from "@effect/platform/Socket"
import * as RpcServer from "@effect/rpc/RpcServer"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { WebSocket } from "ws"
import { Access } from "../../services/Access.js"
import { EventStream } from "../EventStream.js"
import * as Desk from "../network/desk.js"
import * as Limits from "../network/limits.js"
import { type Connection, NodeServer } from "../network/nodeServer.js"
import * as Auth from "./auth.js"
import { Group } from "./group.js"
import * as Handlers from "./handlers.js"
import * as Http from "./http.js"
import * as Sockets from "./sockets.js"
import * as Subscriptions from "./subscriptions.js"

export interface Options {
  /** Where the stream is: WebSockets and POST alike. Default `/rpc`. */
  readonly path?: `/${string}` | undefined
  /** What callers may take. `idle` is 10 seconds here, so that half-open connections are noticed soon. */
  readonly limits?: Limits.Limits | undefined
}

export const defaultPath = "/rpc"

/** Streams over HTTP end after this time and are asked for again: proxies and servers do not tell that a caller is gone. */
const longestHttpStream: Duration.DurationInput = "25 seconds"

/** Both transports, as long as the scope. */
const make = (options: Options) =>
  Effect.gen(function*() {
    const stream = yield* EventStream
    const access = yield* Access
    const quota = Limits.make("rpc", options.limits, { idle: "10 seconds" })
    const subscriptions = Subscriptions.make(stream.core)
    const serve = (
      { connectionOf, protocol }: {
        readonly protocol: RpcServer.Protocol["Type"]
        readonly connectionOf: Parameters<typeof Auth.layer>[0]["connectionOf"]
      },
      longestStream: Duration.DurationInput | undefined
    ) =>
      RpcServer.make(Group, { disableFatalDefects: true, disableTracing: true }).pipe(
        Effect.provideService(RpcServer.Protocol, protocol),
        Effect.provide(Handlers.make(stream, subscriptions, { longestStream })),
        Effect.provide(Auth.layer({ access, connectionOf, deskOf: (identity) => Desk.make(stream, identity) })),
        Effect.interruptible,
        Effect.forkScoped
      )
    const sockets = yield* Sockets.make(quota)
    const http = yield* Http.make(quota)
    yield* serve(sockets, undefined)
    yield* serve(http, longestHttpStream)
    return { sockets, http, settings: quota.settings }
  })

const closeTimeout = 500

const peerOf = (socket: WebSocket): Sockets.Peer => ({
  send: (data) => socket.send(data),
  buffered: () => socket.bufferedAmount,
  ping: () => socket.ping(),
  cutOff: (code, reason) => {
    // behind what it does not read, nobody would see why
    if (socket.bufferedAmount > 0) return socket.terminate()
    socket.close(code, reason)
    // who does not answer a close
    setTimeout(() => socket.terminate(), closeTimeout).unref()
  }
})

/** One WebSocket of Node, until it ends. */
const serveSocket =
  ({ accept }: Effect.Effect.Success<ReturnType<typeof Sockets.make>>) =>
  ({ socket }: Connection): Effect.Effect<void> =>
    Effect.scoped(Effect.gen(function*() {
      const caller = yield* accept(peerOf(socket))
      socket.on("pong", caller.heard)
      socket.on("message", (data: Buffer) => caller.received(data))
      return yield* Effect.never
    })).pipe(
      // the code for "try again later"
      Effect.catchTag("LimitExceeded", () => Effect.sync(() => socket.close(1013)))
    )

/** On the server of Node in the context. */
export const layerNode = (options: Options = {}) =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const { http, settings, sockets } = yield* make(options)
    const server = yield* NodeServer
    const path = options.path ?? defaultPath
    yield* server.http(
      path,
      Effect.flatMap(
        HttpServerRequest.HttpServerRequest,
        ({ method }) => method === "POST" ? http.app : HttpServerResponse.empty({ status: 405 })
      )
    )
    yield* server.webSocket({ path, maxPayload: settings.messageBytes }, serveSocket(sockets))
  }))

/** A WebSocket that a server of the platform has accepted. */
const upgrading = ({ accept }: Effect.Effect.Success<ReturnType<typeof Sockets.make>>, messageBytes: number) =>
  Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const socket = yield* request.upgrade
    let raw: WebSocket | undefined
    const send = yield* socket.writer
    const run = yield* FiberSet.makeRuntime<never>()
    // the socket itself is known with its first message, before which there is nothing to say to it
    const peer: Sockets.Peer = {
      send: (data) => raw === undefined ? void run(Effect.ignore(send(data))) : raw.send(data),
      buffered: () => raw?.bufferedAmount ?? 0,
      ping: () => raw?.ping?.(),
      cutOff: (code, reason) => {
        if (raw === undefined) run(Effect.ignore(send(new Socket.CloseEvent(code, reason))))
        else peerOf(raw).cutOff(code, reason)
      }
    }
    const caller = yield* accept(peer)
    yield* socket.runRaw((data) =>
      Effect.map(Effect.serviceOption(Socket.WebSocket), (webSocket) => {
        if (raw === undefined && Option.isSome(webSocket)) {
          raw = webSocket.value as never as WebSocket
          raw.on?.("pong", caller.heard)
        }
        if (data.length > messageBytes) peer.cutOff(1009, "size")
        else caller.received(data)
      })
    )
  }).pipe(Effect.ignore, Effect.as(HttpServerResponse.empty()))

/** In a router of the platform: what it serves itself stays as it is. */
export const layerRouter = (options: Options = {}) =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const { http, settings, sockets } = yield* make(options)
    const router = yield* HttpLayerRouter.HttpRouter
    const path = options.path ?? defaultPath
    yield* router.add("POST", path, http.app)
    yield* router.add("GET", path, upgrading(sockets, settings.messageBytes))
  }))
