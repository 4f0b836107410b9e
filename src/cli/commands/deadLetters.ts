import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import type { Unknown } from "../../Event.js"
import type { DeadLetter, Which } from "../../services/Consumers.js"
import { common, consumer, optional, optionalInteger } from "../arguments.js"
import { Usage } from "../CliError.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import type { Column } from "../table.js"
import { chosen, which } from "./which.js"

const columns: ReadonlyArray<Column<DeadLetter<Unknown>>> = [
  { title: "ID", cell: ({ event }) => event.id.toString(), align: "right" },
  { title: "TYPE", cell: ({ event }) => event.type },
  { title: "KEY", cell: ({ event }) => event.key ?? "-" },
  { title: "FAILED AT", cell: ({ failedAt }) => failedAt.toISOString() },
  { title: "TRIES", cell: ({ attempts }) => attempts.toString(), align: "right" },
  {
    title: "STATE",
    cell: ({ parked, redriving }) => redriving ? "redriving" : parked ? "parked" : "dead",
    colour: ({ redriving }) => redriving ? "green" : "red"
  },
  { title: "ERROR", cell: ({ error }) => error.split("\n", 1)[0]! }
]

const list = Command.make("list", {
  ...common,
  key: optional("key", "Only those of this event key"),
  after: optional("after", "Only those with a greater event id"),
  limit: optionalInteger("limit", "How many at most, 1 to 1000"),
  consumer
}, (options) =>
  Database.withServices(({ consumers }) =>
    Effect.flatMap(
      consumers.deadLetters(options.consumer, { key: options.key, after: options.after, limit: options.limit }),
      (letters) =>
        Output.either(
          options,
          letters,
          letters.length === 0 ? "There are no dead letters" : Output.table(columns, letters)
        )
    )
  )).pipe(Command.withDescription("The events that a consumer gave up"))

const redrive = Command.make("redrive", { ...common, ...which, consumer }, (options) =>
  Effect.gen(function*() {
    const letters: Which = (yield* chosen(options)) ?? "all"
    const redriving = yield* Database.withServices(({ consumers }) => consumers.redrive(options.consumer, letters))
    yield* Output.either(options, { redriving }, `${redriving} are delivered again`)
  })).pipe(Command.withDescription("Has dead letters delivered again; all of them unless --key or --id is said"))

const drop = Command.make("drop", {
  ...common,
  ...which,
  all: Options.boolean("all").pipe(Options.withDescription("All of the consumer")),
  consumer
}, (options) =>
  Effect.gen(function*() {
    const some = yield* chosen(options)
    if ((some === undefined) !== options.all) {
      return yield* new Usage({ message: "give one of --key, --id and --all: which dead letters are to be deleted" })
    }
    const dropped = yield* Database.withServices(({ consumers }) => consumers.drop(options.consumer, some ?? "all"))
    yield* Output.either(options, { dropped }, `${dropped} are deleted`)
  })).pipe(Command.withDescription("Deletes dead letters for good"))

export const deadLetters = Command.make("dead-letters").pipe(
  Command.withDescription("Events that consumers gave up"),
  Command.withSubcommands([list, redrive, drop])
)
