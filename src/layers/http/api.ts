/**
 * What the routes are: parameters, bodies, answers. The handlers read their parameters by these schemas, and the OpenAPI
 * document is made from them. Bodies are read and written by hand, because the data of an event must not be parsed and
 * printed again.
 */
import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as HttpApiMiddleware from "@effect/platform/HttpApiMiddleware"
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as HttpApiSecurity from "@effect/platform/HttpApiSecurity"
import * as OpenApi from "@effect/platform/OpenApi"
import * as Schema from "effect/Schema"
import * as EventType from "../../EventType.js"
import * as CloudEvent from "./cloudEvent.js"

const described = (description: string) => Schema.optional(Schema.String.annotations({ description }))

const count = (most: number, description: string) =>
  Schema.optional(
    Schema.String.pipe(Schema.pattern(/^\d{1,6}$/)).annotations({
      description: `${description} An integer from 1 to ${most}.`,
      jsonSchema: { type: "integer", minimum: 1, maximum: most }
    })
  )

const oneOf = <const L extends readonly [string, ...Array<string>]>(description: string, ...values: L) =>
  Schema.optional(Schema.Literal(...values).annotations({ description }))

const want = described("Event types, separated by commas. Left out: all. Empty: none.")
const format = oneOf("How events are written. Default: json.", "json", "cloudevents")
const limit = count(1000, "How many events a batch has at most. Default 1000.")

export const streamParams = Schema.Struct({
  want,
  from: described(
    "Without a consumer: where to begin, `end` (default, from now on), `beginning`, or after an event id."
  ),
  lastEventId: described("The same as the header Last-Event-ID, for clients that cannot send it the first time."),
  consumer: described("The component of a registered consumer of the caller: it gets every event, and acknowledges."),
  register: described("Registers the consumer first, if it is not: `beginning`, `end`, or after an event id."),
  ack: oneOf(
    "With a consumer. `post` (default): by POST /events/ack. `reconnect`: the Last-Event-ID of the next connection acknowledges everything up to it; the response ends when `inFlight` batches are sent.",
    "post",
    "reconnect"
  ),
  busy: oneOf(
    "While another connection receives for the consumer: stand by until it ends (default), take its place, or fail.",
    "wait",
    "takeOver",
    "fail"
  ),
  receiver: Schema.optional(
    Schema.String.pipe(Schema.pattern(/^[\w-]{1,64}$/)).annotations({
      description:
        "A name of this client that no other has, like a UUID: with it a client takes its own place at once when it comes again, also where its last connection is not known to be dead."
    })
  ),
  limit,
  inFlight: count(1000, "How many batches may be unacknowledged. Default 4."),
  format
})

export const pollParams = Schema.Struct({
  consumer: described("The component of a registered consumer of the caller. Default: LIVE, nobody's."),
  lastId: described("Acknowledges everything up to this event id first, and answers with what comes after it."),
  want,
  limit,
  generation: count(999_999, "The generation of the stream that `lastId` is of. Checked if given."),
  format
})

export const Problem = Schema.Struct({
  error: Schema.String.annotations({ description: "The tag of the error, like NotRegistered." }),
  message: Schema.String.annotations({ description: "A sentence for a person." })
}, Schema.Record({ key: Schema.String, value: Schema.Unknown })).annotations({
  identifier: "Problem",
  description: "What is wrong, with the fields of that error. Ids are decimal strings."
})

export const problems = {
  400: "A parameter or the body makes no sense; nothing was done.",
  401: "Nobody is known by these credentials.",
  403: "The caller may not do this.",
  404: "The consumer is not registered.",
  409: "The consumer is busy, exclusive or lost to another receiver; or the id is above the stream's last one.",
  410: "Events after the given id were discarded.",
  413: "The body is too large.",
  415: "The body is of a type that is not read.",
  429: "Too much at a time. Retry-After says when to try again.",
  500: "The server or its database failed.",
  503: "The database cannot be reached now. Retry-After says when to try again."
}

const problem = (status: keyof typeof problems) =>
  Problem.annotations({ ...HttpApiSchema.annotations({ status }), description: problems[status] })

const Id = Schema.String.pipe(Schema.pattern(/^\d{1,18}$/)).annotations({
  identifier: "EventId",
  description: "A decimal event id, 1 to 999999999999999999."
})
const Type = Schema.String.pipe(Schema.pattern(EventType.namePattern)).annotations({ identifier: "EventType" })
const Json = Schema.Unknown.annotations({ description: "Any JSON. Kept as it is written, digit by digit." })
const optionalString = Schema.optional(Schema.String)

export const ackBody = Schema.Struct({ consumer: Schema.String, upTo: Id })

export const registerBody = Schema.Struct({
  from: optionalString.annotations({
    description: "Where it begins: `beginning` (default), `end`, after an event id, or a time in ISO form."
  }),
  mode: Schema.optional(Schema.Literal("shared", "exclusive"))
})

const NewEvent = Schema.Struct({
  type: Type,
  data: Json,
  key: optionalString,
  dedupeKey: optionalString,
  correlationId: optionalString,
  causationId: optionalString,
  version: Schema.optional(Schema.Int)
}).annotations({ identifier: "NewEvent" })

const Event = Schema.Struct({
  id: Id,
  uid: Schema.String,
  type: Type,
  key: optionalString,
  meta: Schema.optional(Schema.Record({ key: Schema.String, value: Schema.Unknown })),
  ts: Schema.String,
  data: Json
}).annotations({ identifier: "Event" })

const CloudEventV1 = Schema.Struct({
  specversion: Schema.Literal("1.0"),
  id: Schema.String,
  source: Schema.String,
  type: Type,
  subject: optionalString,
  time: optionalString,
  datacontenttype: optionalString,
  data: Json
}, Schema.Record({ key: Schema.String, value: Schema.Unknown })).annotations({
  identifier: "CloudEvent",
  description: "CloudEvents 1.0. Written here, id and source make a dedupe key and subject is the key."
})

const as = (contentType: string) => HttpApiSchema.withEncoding({ kind: "Json", contentType })

const Authentication = HttpApiMiddleware.Tag<any>()("effect-eventstream/http/Authentication", {
  failure: problem(401),
  security: { basic: HttpApiSecurity.basic, bearer: HttpApiSecurity.bearer }
})

/** Every route may answer with these. */
const common = <E extends HttpApiEndpoint.HttpApiEndpoint.Any>(endpoint: E): E =>
  [400, 403, 429, 500, 503].reduce<any>(
    (one, status) => one.addError(problem(status as keyof typeof problems)),
    endpoint
  )

const name = HttpApiSchema.param("name", Schema.String.annotations({ description: "1 to 16 of A-Z a-z 0-9 _" }))

const group = HttpApiGroup.make("events", { topLevel: true })
  .add(common(
    HttpApiEndpoint.get("subscribe", "/events")
      .setUrlParams(streamParams)
      .setHeaders(Schema.Struct({ "last-event-id": described("The last id that the client has got.") }))
      .addSuccess(HttpApiSchema.Text({ contentType: "text/event-stream" }))
      .addError(problem(404))
      .addError(problem(409))
      .addError(problem(410))
      .annotate(
        OpenApi.Description,
        "Events as they come, as Server-Sent Events: `id` is the event id, `event` its type, `data` the event in JSON. An event `gap` with {missed, upTo} says that a slow client without a consumer has lost some, an event `problem` why the response ends."
      )
  ))
  .add(common(
    HttpApiEndpoint.post("add", "/events")
      .setPayload(Schema.Union(
        Schema.Union(NewEvent, Schema.Array(NewEvent)).pipe(as("application/json")),
        CloudEventV1.pipe(as(CloudEvent.contentType)),
        Schema.Array(CloudEventV1).pipe(as(CloudEvent.batchContentType))
      ))
      .addSuccess(Schema.Struct({ ids: Schema.Array(Id) }))
      .addError(problem(413))
      .addError(problem(415))
      .annotate(OpenApi.Description, "Adds one event or several, all or none, and answers with their ids.")
  ))
  .add(common(
    HttpApiEndpoint.get("poll", "/events/poll")
      .setUrlParams(pollParams)
      .addSuccess(Schema.Struct({
        events: Schema.Array(Event),
        upTo: Schema.NullOr(Id).annotations({ description: "The next lastId: acknowledges what was not wanted, too." }),
        generation: Schema.Int
      }))
      .addError(problem(404))
      .addError(problem(409))
      .annotate(
        OpenApi.Description,
        "The next events of a consumer. As CloudEvents the answer is a list (application/cloudevents-batch+json), with `upTo` and `generation` in the headers evt-up-to and evt-generation."
      )
  ))
  .add(common(
    HttpApiEndpoint.post("acknowledge", "/events/ack")
      .setPayload(ackBody)
      .addSuccess(HttpApiSchema.NoContent)
      .addError(problem(404))
      .addError(problem(409))
      .addError(problem(413))
      .annotate(OpenApi.Description, "Everything up to that id is safely taken over.")
  ))
  .add(common(
    HttpApiEndpoint.post("register")`/consumers/${name}`
      .setPayload(registerBody)
      .addSuccess(Schema.Struct({ consumer: Schema.String, cursor: Schema.NullOr(Id) }))
      .addError(problem(409))
      .addError(problem(410))
      .addError(problem(413))
      .annotate(
        OpenApi.Description,
        "Registers a consumer of the caller. May be repeated: one that is registered stays as it is."
      )
  ))
  .add(common(
    HttpApiEndpoint.del("unregister")`/consumers/${name}`
      .addSuccess(HttpApiSchema.NoContent)
      .addError(problem(404))
      .annotate(OpenApi.Description, "Removes a consumer of the caller and its cursor.")
  ))
  .middleware(Authentication)

export const api = HttpApi.make("effect-eventstream").add(group)
  .annotate(HttpApi.AdditionalSchemas, [Problem, CloudEventV1])
  .annotate(OpenApi.Title, "Events")
  .annotate(OpenApi.Description, "A stream of events that commit with the data of a service.")
