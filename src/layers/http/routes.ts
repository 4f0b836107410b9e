/** The routes: who asks, whether there is a place, what is asked for, and the answer. */
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Consumer from "../../Consumer.js"
import { InvalidOption } from "../../EventStreamError.js"
import { batchJson, eventJson } from "../../internal/eventJson.js"
import { listOf } from "../../internal/said.js"
import type { Service as Access } from "../../services/Access.js"
import type * as EventStream from "../EventStream.js"
import * as Desk from "../network/desk.js"
import type { Connection, Quota } from "../network/limits.js"
import { ackBody, pollParams, registerBody, streamParams } from "./api.js"
import { authenticate } from "./authenticate.js"
import * as Body from "./body.js"
import * as CloudEvent from "./cloudEvent.js"
import * as Live from "./live.js"
import * as NewEvents from "./newEvents.js"
import { document } from "./openApi.js"
import * as Parameters from "./parameters.js"
import * as Problem from "./problem.js"
import * as Receiver from "./receiver.js"
import * as Sse from "./sse.js"

export interface Settings {
  readonly heartbeat: Sse.Options["heartbeat"]
  readonly retry: number
  readonly buffer: number
  readonly stalledAfter: Sse.Options["stalled"]["after"]
  /** Ends the streams that are open. */
  readonly ended: Effect.Effect<void>
}

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

interface Caller {
  readonly request: Request
  readonly desk: Desk.Desk
  readonly connection: Connection
}

const json = (text: string, headers: Record<string, string> = {}) =>
  HttpServerResponse.text(text, { contentType: "application/json", headers: { ...Problem.headers, ...headers } })

export const make = (
  stream: EventStream.Service,
  access: Access,
  quota: Quota,
  settings: Settings
): HttpRouter.HttpRouter => {
  const receivers = Receiver.make(stream)
  const { core: { maxDataBytes, store }, stream: uuid } = stream
  const cloudEventJson = CloudEvent.cloudEventJson(uuid)

  /** With a place for its connection, for as long as the response takes. */
  const called = <R>(
    handle: (caller: Caller) => Effect.Effect<Response, Problem.Failure, R>
  ): Effect.Effect<Response, never, R | HttpServerRequest.HttpServerRequest | Scope.Scope> =>
    Effect.gen(function*() {
      const request = yield* HttpServerRequest.HttpServerRequest
      const connection = yield* quota.connect
      const identity = yield* authenticate(access, request)
      return yield* handle({ request, connection, desk: Desk.make(stream, identity) })
    }).pipe(Effect.catchAll((failure) => Effect.succeed(Problem.response(failure))))

  /** A request that is answered at once. */
  const asked = <R>(handle: (caller: Caller) => Effect.Effect<Response, Problem.Failure, R>) =>
    called((caller) =>
      caller.connection.request(
        caller.desk.identity.user,
        store.outside("http", handle(caller)) as ReturnType<typeof handle>
      )
    )

  /** What is larger than a message may be has a status of its own. */
  const withBody = <R>(
    { request }: Caller,
    handle: (text: string) => Effect.Effect<Response, Problem.Failure, R>
  ): Effect.Effect<Response, Problem.Failure, R> =>
    Effect.matchEffect(Body.text(request, quota.settings.messageBytes), {
      onFailure: (failure) => Effect.succeed(Problem.response(failure, failure._tag === "LimitExceeded" ? 413 : 400)),
      onSuccess: handle
    })

  const subscribe = called(({ connection, desk, request }) =>
    Effect.gen(function*() {
      const params = yield* Parameters.query(streamParams)
      const { consumer } = params
      const lastEventId = request.headers["last-event-id"] || params.lastEventId
      const want = listOf(params.want)
      for (
        const name of consumer === undefined
          ? ["register", "ack", "busy", "receiver", "limit", "inFlight"] as const
          : ["from"] as const
      ) {
        if (params[name] === undefined) continue
        return yield* new InvalidOption({
          option: name,
          value: params[name],
          expected: consumer === undefined ? "left out without a consumer" : "left out with a consumer: see register"
        })
      }
      yield* connection.subscription(desk.identity.user)
      const source = consumer === undefined
        ? yield* Live.open(stream, desk, { want, from: lastEventId ?? params.from ?? "end", buffer: settings.buffer })
        : yield* receivers.open(desk, {
          component: consumer,
          want,
          register: params.register === undefined ? undefined : yield* Parameters.fromOf("register", params.register),
          ack: params.ack ?? "post",
          lastEventId,
          busy: params.busy ?? "wait",
          receiver: params.receiver,
          limit: Parameters.integerOf(params.limit),
          inFlight: Parameters.integerOf(params.inFlight)
        })
      const cloud = Parameters.wantsCloudEvents(params.format, request.headers["accept"], CloudEvent.contentType)
      const body = Sse.stream(source, {
        json: cloud ? cloudEventJson : eventJson,
        heartbeat: settings.heartbeat,
        retry: settings.retry,
        stalled: { after: settings.stalledAfter, cut: yield* cutter(request) }
      })
      return HttpServerResponse.stream(Stream.interruptWhen(body, settings.ended), {
        contentType: "text/event-stream; charset=utf-8",
        headers: { ...Problem.headers, "x-accel-buffering": "no" }
      })
    })
  )

  const add = asked((caller) => {
    const contentType = NewEvents.contentTypeOf(caller.request.headers["content-type"])
    if (contentType === undefined) {
      return Effect.succeed(Problem.response(
        new InvalidOption({
          option: "Content-Type",
          value: caller.request.headers["content-type"]!.slice(0, 100),
          expected: NewEvents.contentTypes.join(" or ")
        }),
        415
      ))
    }
    return withBody(caller, (text) =>
      Effect.gen(function*() {
        const events = yield* NewEvents.parse(text, contentType, { maxDataBytes })
        const ids = yield* caller.desk.append(events)
        return json(JSON.stringify({ ids: ids.map(String) }))
      }))
  })

  const poll = asked(({ desk, request }) =>
    Effect.gen(function*() {
      const { consumer = Consumer.live, format, ...params } = yield* Parameters.query(pollParams)
      const batch = yield* desk.poll(consumer, {
        lastId: params.lastId,
        want: listOf(params.want),
        limit: Parameters.integerOf(params.limit),
        generation: Parameters.integerOf(params.generation)
      })
      const { events, generation, upTo } = batch
      const headers = {
        ...(upTo === undefined ? {} : { "evt-up-to": `${upTo}` }),
        "evt-generation": `${generation}`
      }
      if (Parameters.wantsCloudEvents(format, request.headers["accept"], CloudEvent.batchContentType)) {
        return HttpServerResponse.text(`[${events.map(({ row }) => cloudEventJson(row)).join(",")}]`, {
          contentType: `${CloudEvent.batchContentType}; charset=utf-8`,
          headers: { ...Problem.headers, ...headers }
        })
      }
      return json(batchJson(batch), headers)
    })
  )

  const readAck = Parameters.json(ackBody)
  const acknowledge = asked((caller) =>
    withBody(caller, (text) =>
      Effect.gen(function*() {
        const { consumer, upTo } = yield* readAck(text)
        yield* receivers.acknowledge(caller.desk, consumer, upTo)
        return HttpServerResponse.empty({ status: 204, headers: Problem.headers })
      }))
  )

  const component = Effect.map(HttpRouter.params, ({ name = "" }) => name)

  const readRegister = Parameters.json(registerBody)
  const register = asked((caller) =>
    withBody(caller, (text) =>
      Effect.gen(function*() {
        const name = yield* component
        const { from = "beginning", mode } = yield* readRegister(text === "" ? "{}" : text)
        const cursor = yield* caller.desk.register(name, { from: yield* Parameters.fromOf("from", from), mode })
        const consumer = `${caller.desk.identity.user}:${name}`
        return json(JSON.stringify({ consumer, cursor: cursor === undefined ? null : `${cursor}` }))
      }))
  )

  const unregister = asked(({ desk }) =>
    Effect.gen(function*() {
      yield* desk.unregister(yield* component)
      return HttpServerResponse.empty({ status: 204, headers: Problem.headers })
    })
  )

  const openApi = Effect.map(
    HttpServerRequest.HttpServerRequest,
    (request) => HttpServerResponse.unsafeJson(document(request.originalUrl))
  )

  return HttpRouter.empty.pipe(
    HttpRouter.get("/events", subscribe),
    HttpRouter.post("/events", add),
    HttpRouter.get("/events/poll", poll),
    HttpRouter.post("/events/ack", acknowledge),
    HttpRouter.post("/consumers/:name", register),
    HttpRouter.del("/consumers/:name", unregister),
    HttpRouter.get("/openapi.json", openApi)
  )
}

/** Gives up a connection that takes nothing; a server that cannot is told to stop sending. */
const cutter = (request: Request): Effect.Effect<Effect.Effect<void>> =>
  Effect.withFiberRuntime((fiber) =>
    Effect.succeed(Effect.suspend(() => {
      const { source } = request as { readonly source?: { readonly destroy?: () => void } }
      source?.destroy?.()
      return Fiber.interruptFork(fiber)
    }))
  )
