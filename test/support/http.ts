/** The routes of events behind a server of Node, for a test. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { createServer } from "node:http"
import * as Access from "../../src/access.js"
import * as Http from "../../src/http.js"
import type { EventStream } from "../../src/index.js"
import * as Sse from "./sse.js"

export const basic = (user: string, password = "x") => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`
})

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: any
}

export interface Client {
  readonly url: string
  readonly ask: (
    method: string,
    path: string,
    body?: string | Uint8Array,
    headers?: Record<string, string>
  ) => Effect.Effect<Answer>
  readonly connect: (
    path: string,
    headers?: Record<string, string>
  ) => Effect.Effect<Sse.Connection, never, Scope.Scope>
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Asks as a user. */
export const client = (url: string, credentials: Record<string, string> = basic("ada")): Client => ({
  url,
  ask: (method, path, body, headers) =>
    Effect.promise(async () => {
      const response = await fetch(url + path, {
        method,
        headers: { ...credentials, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        ...(body === undefined ? {} : { body: body as string })
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, json: parsed(text) }
    }),
  connect: (path, headers) =>
    Effect.acquireRelease(
      Effect.promise(() => Sse.connect(url + path, { ...credentials, ...headers })),
      ({ close }) => Effect.sync(close)
    )
})

/** Serves the routes under /api for as long as the scope; the address of that path. */
export const serve = (
  options?: Http.EventsOptions,
  access: Layer.Layer<Access.Access, unknown> = Access.trusting()
): Effect.Effect<string, never, EventStream.EventStream | Scope.Scope> =>
  Effect.gen(function*() {
    const Routes = Layer.unwrapScoped(Effect.map(Http.events(options), (events) =>
      HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.mount("/api", events)))))
    const context = yield* Layer.build(Routes.pipe(
      Layer.provideMerge(NodeHttpServer.layer(() =>
        createServer(), { port: 0, host: "127.0.0.1" })),
      Layer.provide(access),
      Layer.orDie
    ))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return `http://127.0.0.1:${address._tag === "TcpAddress" ? address.port : 0}/api`
  })
