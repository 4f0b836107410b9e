/**
 * What can be asked of a stream over the network. Names and forms are the contract between versions.
 */
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import * as Errors from "../../EventStreamError.js"
import { Authentication } from "./auth.js"
import * as Wire from "./wire.js"

const { Position, Who } = Wire

/** The errors of the services, as themselves, and what the server says of a caller. */
export const Problem = Schema.Union(
  Errors.InvalidEvent,
  Errors.InvalidConsumer,
  Errors.InvalidOption,
  Errors.InsideTransaction,
  Errors.OutcomeUnknown,
  Errors.NotRegistered,
  Errors.LiveNotAllowed,
  Errors.CursorAhead,
  Errors.StreamChanged,
  Errors.EventsDiscarded,
  Errors.ConsumerBusy,
  Errors.ConsumerExclusive,
  Errors.ConsumerFenced,
  Errors.StoreError,
  Errors.Forbidden,
  Errors.LimitExceeded
)
export type Problem = typeof Problem.Type

const call = <Name extends string, P extends Schema.Struct.Fields, S extends Schema.Schema.Any = typeof Schema.Void>(
  name: Name,
  payload: P,
  success?: S
) => Rpc.make(name, { payload, success: (success ?? Schema.Void) as S, error: Problem })

const flow = <Name extends string, P extends Schema.Struct.Fields, S extends Schema.Schema.Any>(
  name: Name,
  payload: P,
  success: S
) => Rpc.make(name, { payload, success, error: Problem, stream: true })

const Id = Schema.UndefinedOr(Position)
const who = { who: Who }
const Fence = { ...who, epoch: Position }

/** Adding events. */
const Generating = RpcGroup.make(
  call("Append", { events: Wire.NewEvents }, Schema.Array(Position))
)

const Polling = RpcGroup.make(
  call("Register", { ...who, ...Wire.Registration.fields }, Id),
  call("Unregister", who),
  call("Poll", {
    ...who,
    ...Wire.asking,
    lastId: Schema.optional(Position),
    generation: Schema.optional(Schema.Number)
  }, Wire.Page),
  // what comes after a position, without acknowledging anything
  call(
    "Read",
    { ...who, ...Wire.asking, after: Position },
    Schema.Struct({
      cursor: Position,
      paused: Schema.Boolean,
      page: Wire.Page
    })
  ),
  call("Acknowledge", { ...who, upTo: Position })
)

/** Being the active receiver of a consumer. What follows `Subscribe` is fenced by the epoch that it has given. */
const Pushing = RpcGroup.make(
  flow("Subscribe", {
    ...who,
    ...Wire.asking,
    register: Schema.optional(Wire.Registration),
    whenBusy: Schema.Literal("wait", "takeOver", "fail"),
    // the token of its lease, the same after a reconnect
    owner: Schema.String.pipe(Schema.minLength(16), Schema.maxLength(64)),
    // how many pages may be unacknowledged
    credit: Schema.Int.pipe(Schema.between(1, 1000)),
    // what it has in hand after a reconnect, and by which epoch
    resume: Schema.optional(Schema.Struct({ epoch: Position, after: Position }))
  }, Wire.Frame),
  // ends the subscription, and answers when its lease is free
  call("Leave", { ...Fence, owner: Schema.String }),
  call("Step", { ...Fence, upTo: Position, letters: Schema.Array(Wire.GivenUp).pipe(Schema.maxItems(1000)) }),
  call("PauseMine", { ...Fence, why: Schema.String }),
  call("ParkedKeys", who, Schema.Array(Schema.Tuple(Schema.String, Schema.Number))),
  call("Redriven", { ...who, limit: Schema.Number }, Wire.Letters),
  call("Settle", {
    ...Fence,
    id: Position,
    failed: Schema.optional(
      Schema.Struct({ error: Schema.String.pipe(Schema.maxLength(20_000)), attempts: Schema.Number })
    )
  }),
  // from now on, or from where a lost connection was
  flow("Live", { want: Wire.asking.want, buffer: Schema.Int, after: Schema.optional(Position) }, Wire.LiveFrame)
)

/** With the right to administer. */
const Administration = RpcGroup.make(
  call("List", {}, Schema.Array(Wire.Info)),
  call("Reset", { ...who, to: Wire.From }, Id),
  call("Repartition", { ...who, partitions: Schema.Union(Schema.Number, Schema.Literal("none")) }, Id),
  call("Remove", { ...who, deadLetters: Schema.optional(Schema.Literal("keep", "drop")) }),
  call(
    "Redact",
    { which: Wire.Erasing },
    Schema.Struct({
      log: Schema.Number,
      history: Schema.UndefinedOr(Schema.Number),
      deadLetters: Schema.Number
    })
  ),
  call("Audit", {
    who: Schema.optional(Who),
    before: Schema.optional(Position),
    limit: Schema.optional(Schema.Number)
  }, Schema.Array(Wire.AuditEntry)),
  call("Pause", { ...who, why: Schema.optional(Schema.String) }),
  call("Resume", who),
  call("DeadLetters", {
    ...who,
    key: Schema.optional(Schema.String),
    after: Schema.optional(Position),
    limit: Schema.optional(Schema.Number)
  }, Wire.Letters),
  call("Redrive", { ...who, which: Wire.Which }, Schema.Number),
  call("Drop", { ...who, which: Wire.Which }, Schema.Number)
)

/** What an archiver elsewhere reads beside its subscription. */
const Archiving = RpcGroup.make(
  call("Stream", {}, Schema.String),
  call("ArchiverLook", {}, Schema.Struct({ cursor: Id, head: Position })),
  call("ArchiverEnd", { sequence: Schema.Boolean }, Position),
  call("Generations", {}, Schema.Array(Schema.Struct({ generation: Schema.Number, after: Position }))),
  call(
    "Retention",
    {},
    Schema.Struct({
      archiveRequired: Schema.Boolean,
      archivedTo: Position,
      discardedTo: Position
    })
  ),
  call("LogPage", { after: Position, upTo: Position, limit: Schema.Number }, Wire.Rows)
)

export const Group = Generating.merge(Polling, Pushing, Administration, Archiving).middleware(Authentication)
