/**
 * Probes and metrics beside what is for the public: everybody may know whether the stream is well, but what is found names
 * consumers, and is for administrators, as are the metrics.
 */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Http from "../../http.js"
import type * as EventStream from "../../layers/EventStream.js"
import { authenticate } from "../../layers/http/authenticate.js"
import * as Problem from "../../layers/http/problem.js"
import * as Desk from "../../layers/network/desk.js"
import { type Service as Access } from "../../services/Access.js"
import { Health } from "../../services/Health.js"

export const routes = (stream: EventStream.Service, access: Access): HttpRouter.HttpRouter => {
  const administers = Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    (request) => Effect.flatMap(authenticate(access, request), (identity) => Desk.make(stream, identity).administer)
  )
  const all = Effect.flatMap(
    HttpRouter.toHttpApp(HttpRouter.provideService(Http.health(), Health, stream.health)),
    (app) => app
  )
  const short = Effect.map(
    all,
    ({ status }) =>
      HttpServerResponse.unsafeJson({ status: status === 200 ? "well" : "not well" }, {
        status,
        headers: Problem.headers
      })
  )
  const probe = Effect.matchEffect(
    Effect.flatMap(
      HttpServerRequest.HttpServerRequest,
      ({ headers }) => headers["authorization"] === undefined ? Effect.fail(undefined) : administers
    ),
    { onFailure: () => short, onSuccess: () => all }
  )
  const metrics = Effect.matchEffect(administers, {
    onFailure: (failure) => Effect.succeed(Problem.response(failure)),
    onSuccess: () => all
  })
  return HttpRouter.empty.pipe(
    HttpRouter.get("/health/live", Effect.orDie(probe)),
    HttpRouter.get("/health/ready", Effect.orDie(probe)),
    HttpRouter.get("/metrics", Effect.orDie(metrics))
  )
}
