/**
 * One server of Node for all that is served: HTTP routes by path, and WebSockets by path, each with a limit of its own for
 * a message. What NodeHttpServer of the platform has no options for: it takes WebSocket messages of 100 MiB, and its end
 * waits for connections that nobody closes.
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo, Socket } from "node:net"
import type { Duplex } from "node:stream"
import { type WebSocket, WebSocketServer } from "ws"
import { InvalidOption, StoreError } from "../../EventStreamError.js"

export interface Options {
  /** Default: any that is free. */
  readonly port?: number | undefined
  /** Default: 127.0.0.1, which other machines cannot reach. */
  readonly host?: string | undefined
  /** Key and certificate, and whatever else `node:https` takes: with it the server speaks TLS only. */
  readonly tls?: Https.ServerOptions | undefined
  /** TCP connections at a time; what comes more is closed at once. Default 10 000. */
  readonly connections?: number | undefined
  /** How long the end waits for requests that are being answered. Default 5 seconds. */
  readonly shutdownTimeout?: Duration.DurationInput | undefined
}

/** A WebSocket that was accepted. Errors of the socket end it, and need no listener. */
export interface Connection {
  readonly socket: WebSocket
  /** The request that asked for it: path, headers, address. */
  readonly request: Http.IncomingMessage
}

export interface WebSocketOptions {
  /** Exactly this path; what follows `?` does not count. */
  readonly path: string
  /** Bytes of a message; a longer one ends the connection with code 1009. */
  readonly maxPayload: number
}

export interface Service {
  readonly port: number
  readonly host: string
  readonly secure: boolean
  /**
   * Answers the requests for a path and all below it with an app, which sees the whole path: for as long as the scope. The
   * longest path that fits counts, `/` is the rest.
   */
  readonly http: <E, R>(
    path: string,
    app: HttpApp.Default<E, R>
  ) => Effect.Effect<void, InvalidOption, Scope.Scope | Exclude<R, Scope.Scope | HttpServerRequestTag>>
  /**
   * Accepts WebSockets for a path, as long as the scope. The handler is run for each one: when it ends the socket is
   * closed, and when the socket ends it is interrupted.
   */
  readonly webSocket: <R>(
    options: WebSocketOptions,
    handler: (connection: Connection) => Effect.Effect<void, never, R>
  ) => Effect.Effect<void, InvalidOption, Scope.Scope | R>
}

type HttpServerRequestTag = import("@effect/platform/HttpServerRequest").HttpServerRequest

export class NodeServer extends Context.Tag("effect-eventstream/NodeServer")<NodeServer, Service>() {}

type Handler = (request: Http.IncomingMessage, response: Http.ServerResponse) => void
type Upgrade = (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => void

const defaults = { host: "127.0.0.1", connections: 10_000, shutdownTimeout: "5 seconds" as Duration.DurationInput }

/** A caller that is slow with its headers, or with the whole of a request, milliseconds. */
const headersTimeout = 10_000
const requestTimeout = 60_000
/** How often is looked for such callers. */
const connectionsCheckingInterval = 5_000
/** Clients keep a connection for 30 seconds (FutoIn, browsers): it is theirs to close, or a request would meet the end. */
const keepAliveTimeout = 40_000
/** What is said to WebSockets when the server ends (RFC 6455, 7.4.1). */
const goingAway = 1001
/** For clients that do not answer a close. */
const closeTimeout = 1000

export const make = (options: Options = {}): Effect.Effect<Service, StoreError, Scope.Scope> =>
  Effect.gen(function*() {
    const { tls } = options
    const shared = {
      noDelay: true,
      keepAlive: true,
      requestTimeout,
      headersTimeout,
      keepAliveTimeout,
      connectionsCheckingInterval
    }
    const server = tls === undefined
      ? Http.createServer(shared)
      : Https.createServer({ handshakeTimeout: headersTimeout, ...tls, ...shared })
    server.maxConnections = options.connections ?? defaults.connections
    const sockets = new Set<Socket>()
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      socket.on("error", () => socket.destroy())
      socket.once("close", () => sockets.delete(socket))
    })

    const routes = new Map<string, Handler>()
    const upgrades = new Map<string, Upgrade>()
    server.on("request", (request, response) => {
      const handler = routeOf(routes, pathOf(request))
      if (handler === undefined) {
        response.writeHead(404).end()
        // what it sends on is not waited for
        request.resume()
        return
      }
      handler(request, response)
    })
    server.on("upgrade", (request: Http.IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on("error", () => socket.destroy())
      const upgrade = upgrades.get(pathOf(request))
      if (upgrade === undefined) socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
      else upgrade(request, socket, head)
    })
    server.on("clientError", (_error, socket) => {
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
      else socket.destroy()
    })

    yield* Effect.acquireRelease(
      Effect.async<void, StoreError>((resume) => {
        const failed = (cause: Error) =>
          resume(Effect.fail(new StoreError({ operation: "listen", reason: "connection", retryable: false, cause })))
        server.once("error", failed)
        server.listen(options.port ?? 0, options.host ?? defaults.host, () => {
          server.off("error", failed)
          // accepting may fail while there are no file descriptors: it goes on by itself
          server.on("error", () => {})
          resume(Effect.void)
        })
      }),
      () => close(server, sockets, Duration.toMillis(options.shutdownTimeout ?? defaults.shutdownTimeout))
    )

    const mount = <A>(table: Map<string, A>, path: string, handler: A) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          if (!path.startsWith("/") || table.has(path)) {
            return new InvalidOption({
              option: "path",
              value: path,
              expected: "a path that begins with / and that nothing else is served under"
            })
          }
          table.set(path, handler)
          return Effect.void
        }),
        () => Effect.sync(() => table.delete(path))
      )

    const { address, port } = server.address() as AddressInfo
    return {
      port,
      host: address,
      secure: tls !== undefined,
      http: (path, app) =>
        Effect.flatMap(
          NodeHttpServer.makeHandler(app) as Effect.Effect<Handler, never, any>,
          (handler) => mount(routes, path, handler)
        ),
      webSocket: ({ maxPayload, path }, handler) =>
        Effect.gen(function*() {
          const accepting = new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false })
          const runtime = yield* Effect.runtime<any>()
          const fibers = yield* FiberSet.make<void>()
          const runFork = Runtime.runFork(runtime)
          yield* Effect.addFinalizer(() => goodbye(accepting))
          const accept = (socket: WebSocket, request: Http.IncomingMessage) => {
            // ws closes it; without a listener the process would end
            socket.on("error", () => {})
            const fiber = runFork(
              Effect.ensuring(
                handler({ socket, request }),
                Effect.sync(() => {
                  if (socket.readyState === socket.OPEN) socket.close(1000)
                })
              )
            )
            FiberSet.unsafeAdd(fibers, fiber)
            socket.once("close", () => fiber.unsafeInterruptAsFork(fiber.id()))
          }
          yield* mount(upgrades, path, (request, socket, head) => {
            accepting.handleUpgrade(request, socket, head, accept)
          })
        })
    }
  })

export const layer = (options?: Options): Layer.Layer<NodeServer, StoreError> => Layer.scoped(NodeServer, make(options))

const pathOf = (request: Http.IncomingMessage): string => {
  const url = request.url ?? "/"
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

const routeOf = (routes: ReadonlyMap<string, Handler>, path: string): Handler | undefined => {
  for (let at = path; at.length > 0; at = at.slice(0, at.lastIndexOf("/"))) {
    const handler = routes.get(at)
    if (handler !== undefined) return handler
  }
  return routes.get("/")
}

const goodbye = (server: WebSocketServer): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const left = new Set(server.clients)
    if (left.size === 0) return resume(Effect.void)
    const end = setTimeout(() => {
      for (const socket of left) socket.terminate()
    }, closeTimeout)
    for (const socket of left) {
      socket.once("close", () => {
        left.delete(socket)
        if (left.size > 0) return
        clearTimeout(end)
        resume(Effect.void)
      })
      socket.close(goingAway)
    }
  })

/** Takes no new connection, lets requests finish for a while, then ends what is left. */
const close = (server: Http.Server | Https.Server, sockets: ReadonlySet<Socket>, millis: number): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const end = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, millis)
    // one that has been answered is idle, and would be kept for a next request
    const idle = setInterval(() => server.closeIdleConnections(), 50)
    server.close(() => {
      clearTimeout(end)
      clearInterval(idle)
      resume(Effect.void)
    })
    server.closeIdleConnections()
  })
