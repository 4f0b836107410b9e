/** Events over plain HTTP and Server-Sent Events, as a client sees them. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { expect, it } from "vitest"
import * as Access from "../src/access.js"
import { Generator } from "../src/index.js"
import * as Http from "../src/http.js"
import { Gone, onEach, services } from "./support/stream.js"
import { connect } from "./support/sse.js"

const basic = (user: string, password = "") => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`
})

/** Serves the routes under /api for as long as the scope; the address of that path. */
const serving = (options?: Http.EventsOptions, access: Layer.Layer<Access.Access, unknown> = Access.trusting()) =>
  Effect.gen(function*() {
    const Routes = Layer.unwrapScoped(
      Effect.map(
        Http.events(options),
        (events) => HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.mount("/api", events)))
      )
    )
    const context = yield* Layer.build(Routes.pipe(
      Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })),
      Layer.provide(access),
      Layer.orDie
    ))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}/api`
  })

onEach("Events over HTTP", ({ prefix, run }) => {
  it("shows events as they come", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const url = yield* serving()
        yield* generator.addAll([Generator.event(Gone, { id: 1 })])
        const client = yield* Effect.promise(() => connect(`${url}/events`, basic("ada")))
        expect(client.status).toBe(200)
        yield* generator.addAll([Generator.event(Gone, { id: 2 })])
        const [message] = yield* Effect.promise(() => client.take(1))
        expect(message).toMatchObject({ id: "2", event: "USR_DEL" })
        client.close()
      }),
      { prefix: prefix() }
    )
  })
})
