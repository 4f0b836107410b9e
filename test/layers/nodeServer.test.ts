import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Net from "node:net"
import { describe, expect, it } from "vitest"
import { WebSocket } from "ws"
import * as NodeServer from "../../src/layers/network/nodeServer.js"

const run = <A, E>(effect: Effect.Effect<A, E, import("effect/Scope").Scope>) =>
  Effect.runPromise(Effect.scoped(effect))

const app = (name: string) =>
  Effect.map(
    HttpServerRequest.HttpServerRequest,
    ({ url }) => HttpServerResponse.text(`${name} ${url}`)
  )

const text = (url: string) => Effect.promise(async () => (await fetch(url)).text())

const closed = (socket: WebSocket) => Effect.promise(() => new Promise<number>((done) => socket.once("close", done)))
const opened = (socket: WebSocket) => Effect.promise(() => new Promise<void>((done) => socket.once("open", done)))

describe("A server of Node", () => {
  it("answers by the longest path that fits, and 404 elsewhere", () =>
    run(Effect.gen(function*() {
      const server = yield* NodeServer.make()
      const url = `http://127.0.0.1:${server.port}`
      yield* server.http("/a", app("a"))
      yield* server.http("/a/b", app("ab"))
      expect(yield* text(`${url}/a`)).toBe("a /a")
      expect(yield* text(`${url}/a/c?x=1`)).toBe("a /a/c?x=1")
      expect(yield* text(`${url}/a/b/c`)).toBe("ab /a/b/c")
      expect((yield* Effect.promise(() => fetch(`${url}/ab`))).status).toBe(404)
      expect(Exit.isFailure(yield* Effect.exit(server.http("/a", app("x"))))).toBe(true)
    })))

  it("WebSockets have a path and a limit each; what is too long ends that one only", () =>
    run(Effect.gen(function*() {
      const server = yield* NodeServer.make()
      const echo = ({ socket }: NodeServer.Connection) =>
        Effect.zipRight(Effect.sync(() => socket.on("message", (data) => socket.send(data))), Effect.never)
      yield* server.webSocket({ path: "/small", maxPayload: 100 }, echo)
      yield* server.webSocket({ path: "/large", maxPayload: 10_000 }, echo)
      const url = `ws://127.0.0.1:${server.port}`
      const small = new WebSocket(`${url}/small`)
      const large = new WebSocket(`${url}/large`)
      yield* Effect.all([opened(small), opened(large)], { concurrency: 2 })
      small.send("x".repeat(101))
      expect(yield* closed(small)).toBe(1009)
      large.send("x".repeat(101))
      yield* Effect.promise(() => new Promise((done) => large.once("message", done)))
      const nowhere = new WebSocket(`${url}/elsewhere`)
      const error = yield* Effect.promise(() => new Promise<Error>((done) => nowhere.once("error", done)))
      expect(error.message).toMatch(/404/)
    })))

  it("its end ends handlers, says goodbye to WebSockets, and does not wait for who is silent", async () => {
    let ended = false
    let silent: Net.Socket | undefined
    let socket: WebSocket | undefined
    const before = Date.now()
    await run(Effect.gen(function*() {
      const server = yield* NodeServer.make({ shutdownTimeout: "300 millis" })
      yield* server.webSocket(
        { path: "/", maxPayload: 100 },
        () => Effect.ensuring(Effect.never, Effect.sync(() => ended = true))
      )
      socket = new WebSocket(`ws://127.0.0.1:${server.port}/`)
      yield* opened(socket)
      silent = Net.connect(server.port, "127.0.0.1")
      silent.write("GET / HTTP/1.1\r\n")
      yield* Effect.promise(() => new Promise((done) => setTimeout(done, 50)))
      socket.once("close", (code) => expect(code).toBe(1001))
    }))
    expect(ended).toBe(true)
    expect(socket!.readyState).toBe(WebSocket.CLOSED)
    expect(Date.now() - before).toBeLessThan(4000)
    silent!.destroy()
  })

  it("survives garbage, and callers that vanish in the middle of a handshake", () =>
    run(Effect.gen(function*() {
      const server = yield* NodeServer.make()
      yield* server.http("/", app("root"))
      yield* server.webSocket({ path: "/ws", maxPayload: 100 }, () => Effect.never)
      const sends = [
        "\u0000\u0001garbage\r\n\r\n",
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\u00ff\u00ff\u00ff\u00ff"
      ]
      for (const bytes of sends) {
        const socket = Net.connect(server.port, "127.0.0.1")
        socket.on("error", () => {})
        socket.write(bytes, "latin1")
        yield* Effect.sleep(30)
        socket.resetAndDestroy()
      }
      expect(yield* text(`http://127.0.0.1:${server.port}/`)).toBe("root /")
    })))
})
