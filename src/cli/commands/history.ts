import * as Command from "@effect/cli/Command"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as HistoryService from "../../services/History.js"
import { common, optional, timeOf, want } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import { listOf } from "../../internal/said.js"

const time = (option: string, text: string | undefined) =>
  text === undefined ? Effect.succeed(undefined) : timeOf(option, text)

const exportEvents = Command.make("export", {
  ...common,
  since: optional("since", "Only events that are not older than this time"),
  until: optional("until", "Only events before this time"),
  want,
  after: optional("after", "Only events after this id")
}, (options) =>
  Effect.gen(function*() {
    const since = yield* time("--since", options.since)
    const until = yield* time("--until", options.until)
    const layer = yield* Database.history
    yield* Effect.provide(
      Effect.flatMap(HistoryService.History, (history) =>
        history.ndjson({ since, until, want: listOf(options.want), after: options.after }).pipe(
          Stream.runForEachChunk((lines) =>
            Output.write(Chunk.join(lines, ""))
          )
        )),
      layer
    )
  })).pipe(Command.withDescription("Archived events of EVT_HISTORY_URL as NDJSON, one object a line"))

export const history = Command.make("history").pipe(
  Command.withDescription("All events for all time"),
  Command.withSubcommands([exportEvents])
)
