import * as Command from "@effect/cli/Command"
import { common, consumer, optional, optionalInteger, want } from "../arguments.js"
import * as Effect from "effect/Effect"
import * as Database from "../database.js"
import * as Output from "../output.js"
import { batchJson } from "../../internal/eventJson.js"
import { eventLine } from "./eventLine.js"
import { listOf } from "../../internal/said.js"

export const poll = Command.make("poll", {
  ...common,
  lastId: optional("last-id", "Acknowledges everything up to this id first"),
  limit: optionalInteger("limit", "How many events at most, 1 to 1000"),
  want,
  consumer
}, (options) =>
  Database.withServices(({ poller }) =>
    Effect.flatMap(
      poller.poll(options.consumer, {
        lastId: options.lastId,
        limit: options.limit,
        want: listOf(options.want)
      }),
      (batch) =>
        options.json
          ? Output.line(batchJson(batch))
          : batch.events.length === 0
          ? Effect.void
          : Output.line(batch.events.map((event) => eventLine(event as any)).join("\n"))
    )
  )).pipe(Command.withDescription("The next events of a consumer (LIVE: of nobody); acknowledges with --last-id only"))
