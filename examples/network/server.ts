import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import * as Ftn18 from "effect-eventstream/ftn18"
import * as Http from "effect-eventstream/http"
import * as Rpc from "effect-eventstream/rpc"
import { createServer } from "node:http"

export const port = Number(process.env.PORT ?? 8080)

// under a path of a server that may have other routes, too
const Api = Layer.unwrapScoped(
  Effect.map(Http.events(), (events) => HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.mount("/api", events))))
).pipe(
  Layer.provide(NodeHttpServer.layer(() => createServer(), { port, host: "127.0.0.1" }))
)

export const Served = Layer.mergeAll(
  Api,
  Rpc.layerServer({ port: port + 1 }),
  Ftn18.layer({ port: port + 2 })
)
