import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { common } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import { consumerTable } from "./consumerTable.js"

export const status = Command.make(
  "status",
  common,
  (options) =>
    Database.withServices((services) =>
      Effect.gen(function*() {
        const source = yield* services.source
        const { stream } = source
        const head = yield* source.head
        const { discardedTo } = yield* source.retention
        const list = yield* services.consumers.list
        yield* Output.either(
          options,
          { stream, head, discardedTo, consumers: list },
          `stream ${stream}  head ${head}  discarded to ${discardedTo}\n\n${consumerTable(list)}`
        )
      })
    )
).pipe(Command.withDescription("How far the stream and its consumers are"))
