import * as Command from "@effect/cli/Command"
import { common, consumer, listOf, optional, optionalInteger, want } from "../arguments.js"
import * as Effect from "effect/Effect"
import * as Database from "../database.js"
import * as Output from "../output.js"
import { eventJson } from "../../internal/eventJson.js"
import { eventLine } from "./eventLine.js"

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
      ({ events, generation, upTo }) =>
        options.json
          ? Output.line(
            `{"events":[${events.map(({ row }) => eventJson(row)).join(",")}],` +
              `"upTo":${upTo === undefined ? "null" : `"${upTo}"`},"generation":${generation}}`
          )
          : events.length === 0
          ? Effect.void
          : Output.line(events.map((event) => eventLine(event as any)).join("\n"))
    )
  )).pipe(Command.withDescription("The next events of a consumer (LIVE: of nobody); acknowledges with --last-id only"))
