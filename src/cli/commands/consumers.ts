import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { NotRegistered } from "../../EventStreamError.js"
import type { AuditEntry, PartitionInfo } from "../../services/Consumers.js"
import { common, consumer, consumerOf, fromOf, optional, optionalInteger } from "../arguments.js"
import { Usage } from "../CliError.js"
import { variable } from "../environment.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import type { Column } from "../table.js"
import { consumerTable } from "./consumerTable.js"
import { chosen, which } from "./which.js"

const named = (given: string | { readonly user: string; readonly component: string }): string =>
  typeof given !== "string"
    ? `${given.user}:${given.component}`
    // elsewhere it is the caller's, whom a token does not name
    : variable("EVT_URL") === undefined
    ? `local:${given}`
    : given

const list = Command.make(
  "list",
  common,
  (options) =>
    Database.withServices(({ consumers }) =>
      Effect.flatMap(consumers.list, (all) => Output.either(options, all, consumerTable(all)))
    )
).pipe(Command.withDescription("All registered consumers"))

const register = Command.make("register", {
  ...common,
  from: Options.text("from").pipe(
    Options.withDescription("beginning (default), end, an event id (after it) or a time in ISO form"),
    Options.withDefault("beginning")
  ),
  consumer
}, (options) =>
  Effect.gen(function*() {
    const from = yield* fromOf("--from", options.from)
    const cursor = yield* Database.withServices(({ poller }) => poller.register(options.consumer, { from }))
    const name = named(options.consumer)
    yield* Output.either(options, { consumer: name, cursor }, `${name} is registered, after ${cursor ?? "nothing"}`)
  })).pipe(Command.withDescription("Registers a consumer: nothing is discarded before it has it"))

const reset = Command.make("reset", {
  ...common,
  to: Options.text("to").pipe(
    Options.withDescription("beginning, end, an event id (the next one is delivered first) or a time in ISO form")
  ),
  consumer
}, (options) =>
  Effect.gen(function*() {
    const to = yield* fromOf("--to", options.to)
    const cursor = yield* Database.withServices(({ consumers }) => consumers.reset(options.consumer, to))
    const name = named(options.consumer)
    yield* Output.either(options, { consumer: name, cursor }, `${name} continues after ${cursor ?? "nothing"}`)
  })).pipe(Command.withDescription("Moves the cursor of a consumer, forward or back"))

const pause = Command.make(
  "pause",
  { ...common, why: optional("why", "Kept with the consumer"), consumer },
  (options) =>
    Effect.gen(function*() {
      yield* Database.withServices(({ consumers }) => consumers.pause(options.consumer, options.why))
      const name = named(options.consumer)
      yield* Output.either(options, { consumer: name, state: "paused" }, `${name} is paused`)
    })
).pipe(Command.withDescription("Nobody receives its events until it is resumed"))

const resume = Command.make("resume", { ...common, consumer }, (options) =>
  Effect.gen(function*() {
    yield* Database.withServices(({ consumers }) => consumers.resume(options.consumer))
    const name = named(options.consumer)
    yield* Output.either(options, { consumer: name, state: "resumed" }, `${name} is resumed`)
  })).pipe(Command.withDescription("Ends a pause"))

const partitionColumns: ReadonlyArray<Column<PartitionInfo>> = [
  { title: "PARTITION", cell: ({ number }) => number.toString(), align: "right" },
  { title: "CURSOR", cell: ({ cursor }) => cursor === undefined ? "-" : cursor.toString(), align: "right" },
  { title: "LAG", cell: ({ lag }) => lag.events.toString(), align: "right" },
  { title: "SECONDS", cell: ({ lag }) => lag.seconds.toFixed(0), align: "right" },
  { title: "HELD BY", cell: ({ owner }) => owner?.member ?? "-" }
]

const partitions = Command.make("partitions", { ...common, consumer }, (options) =>
  Effect.gen(function*() {
    const all = yield* Database.withServices(({ consumers }) => consumers.list)
    const name = named(options.consumer)
    const found = all.find((info) => info.consumer === name)
    if (found === undefined) return yield* new NotRegistered({ consumer: name })
    const list = found.partitions ?? []
    yield* Output.either(
      options,
      list,
      list.length === 0 ? `${name} has no partitions` : Output.table(partitionColumns, list)
    )
  })).pipe(Command.withDescription("The partitions of a consumer, and who has them"))

const repartition = Command.make("repartition", {
  ...common,
  partitions: Options.text("partitions").pipe(Options.withDescription("2 to 256, or none: an ordinary consumer")),
  consumer
}, (options) =>
  Effect.gen(function*() {
    const n = options.partitions === "none" ? options.partitions : Number(options.partitions)
    const cursor = yield* Database.withServices(({ consumers }) => consumers.repartition(options.consumer, n))
    const name = named(options.consumer)
    yield* Output.either(
      options,
      { consumer: name, partitions: n, cursor },
      `${name} has ${options.partitions} partitions and continues after ${cursor ?? "nothing"}`
    )
  })).pipe(Command.withDescription("Divides a consumer anew, from the smallest cursor of its partitions on"))

const remove = Command.make("remove", {
  ...common,
  deadLetters: Options.choice("dead-letters", ["keep", "drop"]).pipe(
    Options.withDescription("What becomes of its dead letters"),
    Options.withDefault("keep")
  ),
  consumer
}, (options) =>
  Effect.gen(function*() {
    const { deadLetters } = options
    yield* Database.withServices(({ consumers }) => consumers.remove(options.consumer, { deadLetters }))
    const name = named(options.consumer)
    yield* Output.either(options, { consumer: name, state: "removed" }, `${name} is removed`)
  })).pipe(Command.withDescription("Removes a registration: nothing waits for this consumer any more"))

const redact = Command.make("redact", { ...common, ...which }, (options) =>
  Effect.gen(function*() {
    const events = yield* chosen(options)
    if (events === undefined) return yield* new Usage({ message: "give --key or --id: which events are to be erased" })
    const erased = yield* Database.withServices(({ consumers }) => consumers.redact(events))
    const history = erased.history === undefined
      ? "no history is known (EVT_HISTORY_URL)"
      : `${erased.history} in the history`
    yield* Output.either(
      options,
      erased,
      `Erased: ${erased.log} in the log, ${history}, ${erased.deadLetters} dead letters`
    )
  })).pipe(Command.withDescription("Erases what may be personal in events, for good"))

const auditColumns: ReadonlyArray<Column<AuditEntry>> = [
  { title: "ID", cell: ({ id }) => id.toString(), align: "right" },
  { title: "AT", cell: ({ at }) => at.toISOString() },
  { title: "ACTOR", cell: ({ actor }) => actor },
  { title: "ACTION", cell: ({ action }) => action },
  { title: "CONSUMER", cell: ({ consumer }) => consumer ?? "-" },
  { title: "DETAIL", cell: ({ detail }) => detail == null ? "" : Output.jsonText(detail) }
]

const audit = Command.make("audit", {
  ...common,
  limit: optionalInteger("limit", "How many entries at most, 1 to 1000"),
  before: optional("before", "Only what was done before the entry with this id"),
  consumer: Args.text({ name: "consumer" }).pipe(Args.optional, Args.map(Option.getOrUndefined))
}, (options) =>
  Effect.gen(function*() {
    if (options.before !== undefined && !/^\d{1,18}$/.test(options.before)) {
      return yield* new Usage({ message: `--before must be the id of an entry, not ${options.before}` })
    }
    const before = options.before === undefined ? undefined : BigInt(options.before)
    const consumer = options.consumer === undefined ? undefined : consumerOf(options.consumer)
    const entries = yield* Database.withServices(({ consumers }) =>
      consumers.audit({ consumer, before, limit: options.limit })
    )
    yield* Output.either(
      options,
      entries,
      entries.length === 0 ? "Nothing was done" : Output.table(auditColumns, entries)
    )
  })).pipe(Command.withDescription("What was done, by whom and when, the newest first"))

export const consumers = Command.make("consumers").pipe(
  Command.withDescription("Registered consumers"),
  Command.withSubcommands([list, register, reset, partitions, repartition, pause, resume, remove, redact, audit])
)
