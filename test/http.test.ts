import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { afterAll, beforeAll, expect, it } from "vitest"
import { Generator } from "../src/index.js"
import * as Http from "../src/http.js"
import type { Health } from "../src/services/Health.js"
import { servers } from "./support/backends.js"
import { type Proxy, startProxy } from "./support/proxy.js"
import { Gone, onEach, services } from "./support/stream.js"

/** Serves the routes, and asks them as a probe does. */
const probing = <A, E, R>(
  options: Http.HealthOptions | undefined,
  f: (
    get: (path: string) => Effect.Effect<{ status: number; type: string | null; body: string }>
  ) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Health> =>
  Effect.gen(function*() {
    const server = yield* HttpServer.HttpServer
    const port = server.address._tag === "TcpAddress" ? server.address.port : 0
    return yield* f((path) =>
      Effect.promise(async () => {
        const response = await fetch(`http://127.0.0.1:${port}${path}`)
        return {
          status: response.status,
          type: response.headers.get("content-type"),
          body: await response.text()
        }
      })
    )
  }).pipe(
    Effect.provide(
      HttpServer.serve(Http.health(options)).pipe(
        Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { port: 0, host: "127.0.0.1" })),
        Layer.orDie
      )
    )
  ) as Effect.Effect<A, E, R | Health>

onEach("Health by HTTP", ({ prefix, run }) => {
  it("answers probes with 200 as long as all is well, with 503 and the findings otherwise", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("A")
        yield* probing(undefined, (get) =>
          Effect.gen(function*() {
            expect(yield* get("/health/live")).toEqual({
              status: 200,
              type: "application/json",
              body: `{"status":"up"}`
            })
            expect(yield* get("/health/ready"))
              .toEqual({ status: 200, type: "application/json", body: `{"status":"ready"}` })
            expect((yield* get("/health/other")).status).toBe(404)
          }))
        yield* generator.addAll([Generator.event(Gone, { id: 1 })])
        yield* probing({ limits: { unacknowledged: 0 } }, (get) =>
          Effect.gen(function*() {
            const { body, status } = yield* get("/health/ready")
            expect(status).toBe(503)
            expect(JSON.parse(body)).toEqual({
              status: "not ready",
              findings: [{
                check: "consumer",
                level: "problem",
                found: expect.stringContaining("local:A has no receiver"),
                advice: expect.stringContaining("Start the receiver")
              }]
            })
            expect((yield* get("/health/live")).status).toBe(200)
          }))
      }),
      { prefix: prefix() }
    )
  })

  it("gives the metrics of the process as Prometheus reads them", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        yield* generator.addAll([Generator.event(Gone, { id: 1 })])
        yield* probing(undefined, (get) =>
          Effect.gen(function*() {
            const { body, status, type } = yield* get("/metrics")
            expect(status).toBe(200)
            expect(type).toBe("text/plain; version=0.0.4; charset=utf-8")
            expect(body).toMatch(/^# HELP evt_wakeups Hints of commits/m)
            expect(body).toMatch(/^# TYPE evt_wakeups counter$/m)
            expect(body).toMatch(/^evt_wakeups\{kind="here"\} \d+$/m)
            for (const line of body.split("\n")) {
              expect(line).toMatch(
                /^$|^# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .+$|^[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? [-+.\deIinfNa]+$/
              )
            }
          }))
      }),
      { prefix: p }
    )
  })
})

onEach("Health by HTTP of a server", ({ backend, db, prefix, run }) => {
  let proxy: Proxy
  beforeAll(async () => {
    const { hostname, port } = new URL(db().url)
    proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
  })
  afterAll(() => proxy.stop())

  it("a database that cannot be reached is 503, without what the driver says", async () => {
    await run(
      probing(undefined, (get) =>
        Effect.gen(function*() {
          expect((yield* get("/health/live")).status).toBe(200)
          proxy.accept(false)
          proxy.cutAll()
          for (const [path, answer] of [["/health/live", "down"], ["/health/ready", "not ready"]] as const) {
            const { body, status } = yield* get(path)
            expect(status).toBe(503)
            expect(JSON.parse(body)).toMatchObject({
              status: answer,
              findings: [{ check: "database", level: "problem" }]
            })
            expect(body).not.toMatch(/127\.0\.0\.1|ECONN|terminated/)
          }
          expect((yield* get("/metrics")).status).toBe(200)
          proxy.accept(true)
        })).pipe(Effect.ensuring(Effect.sync(() => proxy.accept(true)))),
      { prefix: prefix(), sequencer: "off" },
      { port: proxy.port }
    )
  })
}, { backends: servers })
