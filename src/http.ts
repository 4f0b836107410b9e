/**
 * Routes of `@effect/platform`: events over plain HTTP and Server-Sent Events for clients that have nothing but HTTP, and
 * probes and Prometheus for who watches a stream.
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
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { InsideTransaction, InvalidOption, StoreError } from "./EventStreamError.js"
import * as Prometheus from "./internal/prometheus.js"
import * as EventStream from "./layers/EventStream.js"
import * as Routes from "./layers/http/routes.js"
import { type Limits as NetworkLimits, make as makeQuota } from "./layers/network/limits.js"
import { fromOne } from "./layers/reader.js"
import { Access } from "./services/Access.js"
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

/**
 * @since 0.1.0
 * @category models
 */
export interface EventsOptions {
  /** What callers may take at a time. A connection is a request here: those of one user are limited by `userRequests`. */
  readonly limits?: NetworkLimits | undefined
  /** After so long without an event a comment is sent, so that nobody on the way ends the connection. Default 15 s. */
  readonly heartbeat?: Duration.DurationInput | undefined
  /** After so long a client comes again whose connection is lost. Default 2 s. */
  readonly retry?: Duration.DurationInput | undefined
  /** How many events a client without a consumer may be behind before the oldest are left out. Default 10 000. */
  readonly buffer?: number | undefined
  /** A client that takes nothing of what is sent for so long is cut off. Default 5 minutes. */
  readonly stalledAfter?: Duration.DurationInput | undefined
}

/**
 * The stream for clients that have nothing but HTTP. Serve it as it is, or under a path:
 *
 * ```ts
 * const Routes = Layer.unwrapScoped(Effect.map(Http.events(), (events) =>
 *   HttpServer.serve(HttpRouter.empty.pipe(HttpRouter.mount("/api", events)))))
 * ```
 *
 * - `GET /events`: Server-Sent Events
 * - `POST /events`: adds one event or several
 * - `GET /events/poll`: the next events of a consumer
 * - `POST /events/ack`: acknowledges what a consumer got by `GET /events`
 * - `POST`, `DELETE /consumers/NAME`: registers and removes a consumer
 * - `GET /openapi.json`: all of it as an OpenAPI document
 *
 * Callers show who they are by `Authorization`, Basic or Bearer, and use consumers of their own. When the scope closes,
 * the responses that are open end.
 *
 * @since 0.1.0
 * @category routes
 */
export const events = (
  options: EventsOptions = {}
): Effect.Effect<HttpRouter.HttpRouter, InvalidOption, EventStream.EventStream | Access | Scope.Scope> =>
  Effect.gen(function*() {
    const stream = yield* EventStream.EventStream
    const access = yield* Access
    const buffer = yield* fromOne("buffer", options.buffer ?? 10_000)
    const ended = yield* Effect.acquireRelease(Deferred.make<void>(), (ended) => Deferred.succeed(ended, undefined))
    return Routes.make(stream, access, makeQuota("http", options.limits), {
      heartbeat: options.heartbeat ?? "15 seconds",
      retry: Duration.toMillis(options.retry ?? "2 seconds"),
      buffer,
      stalledAfter: options.stalledAfter ?? "5 minutes",
      ended: Deferred.await(ended)
    })
  })

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
