/**
 * Routes of `@effect/platform` for who watches a stream: probes and Prometheus.
 *
 * ```ts
 * import * as Http from "effect-eventstream/http"
 *
 * Http.health().pipe(HttpServer.serve(), Layer.provide(Events), Layer.provide(NodeHttpServer.layer(createServer, { port: 9090 })))
 * ```
 *
 * @since 0.1.0
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { InsideTransaction, StoreError } from "./EventStreamError.js"
import * as Prometheus from "./internal/prometheus.js"
import { type Finding, Health, type Limits } from "./services/Health.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface HealthOptions {
  /** When the stream counts as not ready. Default: as `Health.ready`. */
  readonly limits?: Limits | undefined
}

/**
 * Three routes, which answer within seconds whatever the database does:
 *
 * - `GET /health/live`: 200 `{"status":"up"}` if the database answers, else 503 `{"status":"down"}` with the findings.
 * - `GET /health/ready`: 200 `{"status":"ready"}`, or 503 `{"status":"not ready","findings":[…]}`.
 * - `GET /metrics`: all metrics of Effect in this process, as Prometheus reads them.
 *
 * The findings name consumers, and what an administrator wrote about them: nothing for the public.
 *
 * @since 0.1.0
 * @category routes
 */
export const health = (options: HealthOptions = {}): HttpRouter.HttpRouter<never, Health> =>
  HttpRouter.empty.pipe(
    HttpRouter.get(
      "/health/live",
      Effect.flatMap(Health, ({ live }) =>
        Effect.match(live, {
          onSuccess: () => json(200, { status: "up" }),
          onFailure: (error) => json(503, { status: "down", findings: [unreachable(error)] })
        }))
    ),
    HttpRouter.get(
      "/health/ready",
      Effect.flatMap(Health, ({ ready }) =>
        Effect.match(ready(options.limits), {
          onSuccess: (findings) =>
            findings.length === 0 ? json(200, { status: "ready" }) : json(503, { status: "not ready", findings }),
          onFailure: (error) => json(503, { status: "not ready", findings: [unreachable(error)] })
        }))
    ),
    HttpRouter.get(
      "/metrics",
      Effect.map(Metric.snapshot, (snapshot) =>
        HttpServerResponse.text(Prometheus.text(snapshot), { contentType: Prometheus.contentType, headers }))
    )
  )

/** An answer of now is of no use later. */
const headers = { "cache-control": "no-store" }

const json = (status: number, body: unknown) => HttpServerResponse.unsafeJson(body, { status, headers })

/** The driver's message is left out: it may name hosts and users. */
const unreachable = (error: StoreError | InsideTransaction): Finding => ({
  check: "database",
  level: "problem",
  found: error._tag === "StoreError"
    ? `The database has not answered as it should (${error.reason}).`
    : "This was asked within a transaction.",
  advice: error._tag === "StoreError"
    ? "Look whether it runs, and whether this process can reach it."
    : "Serve these routes outside of transactions."
})
