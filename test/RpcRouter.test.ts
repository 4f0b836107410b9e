/** The stream in a program's own router of `@effect/platform`, beside what that serves. */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import { expect, it } from "vitest"
import { WebSocket } from "ws"
import * as Access from "../src/access.js"
import { Delivery, Generator, Poller, Pusher } from "../src/index.js"
import * as Rpc from "../src/rpc.js"
import { credentials, everything } from "./support/remote.js"
import { Gone, onEach, services } from "./support/stream.js"

/** A server of the platform, which has a page of the program as well: where it is, and its end. */
const serving = (options?: Rpc.ServerOptions) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const app = Layer.mergeAll(
      Rpc.layerRouter(options).pipe(Layer.provide(Access.trusting(everything))),
      HttpLayerRouter.add("GET", "/hello", HttpServerResponse.text("hello"))
    )
    const context = yield* HttpLayerRouter.serve(app, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })),
      Layer.buildWithScope(scope)
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    return { address: `127.0.0.1:${(address as HttpServer.TcpAddress).port}`, end: Scope.close(scope, Exit.void) }
  })

onEach("The stream in a program's own router", ({ run }) => {
  it.each(["ws", "http"])(
    "is used through its client, by %s, beside the other routes",
    (scheme) =>
      run(Effect.gen(function*() {
        const { address } = yield* serving({ path: "/events" })
        const client = yield* Layer.build(
          Rpc.layerConfig({
            url: Config.string("EVENTS_URL"),
            credentials: { user: Config.succeed("app"), password: Config.redacted("EVENTS_PASSWORD") }
          }).pipe(Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(
            new Map([["EVENTS_URL", `${scheme}://${address}/events`], ["EVENTS_PASSWORD", "any"]])
          ))))
        )
        const { add } = Context.get(client, Generator.Generator)
        const pusher = Context.get(client, Pusher.Pusher)
        const poller = Context.get(client, Poller.Poller)
        yield* poller.register(`R${scheme.toUpperCase()}`, { from: "end" })
        for (const id of [1, 2, 3]) yield* add(Gone, { id })
        const handled: Array<number> = []
        yield* pusher.subscribe(`R${scheme.toUpperCase()}`, { want: [Gone] }).pipe(
          Delivery.handle((events) =>
            Effect.sync(() => {
              for (const event of events) if (event._tag === "Known") handled.push(event.data.id)
            })
          ),
          Stream.takeUntil(() => handled.length >= 3),
          Stream.runDrain
        )
        expect(handled).toEqual([1, 2, 3])
        // the stream's own services see the same consumer, under the name of the user
        const { consumers } = yield* services
        const all = yield* consumers.list
        expect(all.map(({ consumer }) => consumer)).toContain(`app:R${scheme.toUpperCase()}`)
        const page = yield* Effect.promise(() => fetch(`http://${address}/hello`).then((response) => response.text()))
        expect(page).toBe("hello")
      }))
  )

  it("ends while clients are connected", () =>
    run(Effect.gen(function*() {
      const { address, end } = yield* serving()
      const client = yield* Layer.build(Rpc.layer({ url: `ws://${address}/rpc`, credentials: credentials("app") }))
      const { poll, register } = Context.get(client, Poller.Poller)
      yield* register("R")
      yield* Effect.timeout(end, "5 seconds")
      expect(yield* Effect.flip(poll("R"))).toMatchObject({ _tag: "StoreError", reason: "connection" })
    })), 20_000)

  it("cuts a WebSocket off whose message is above the limit, and serves the others", () =>
    run(Effect.gen(function*() {
      const { address } = yield* serving({ limits: { messageBytes: 100_000 } })
      const code = yield* Effect.promise(() =>
        new Promise<number>((done, fail) => {
          const socket = new WebSocket(`ws://${address}/rpc`)
          socket.once("open", () => socket.send("x".repeat(200_000)))
          socket.once("close", done)
          socket.once("error", fail)
        })
      )
      expect(code).toBe(1009)
      const client = yield* Layer.build(Rpc.layer({ url: `ws://${address}/rpc`, credentials: credentials("app") }))
      expect(yield* Context.get(client, Generator.Generator).add(Gone, { id: 9 })).toBeTypeOf("bigint")
    })), 20_000)
}, { backends: ["sqlite"] })
