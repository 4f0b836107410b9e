import * as Command from "@effect/cli/Command"
import * as Stream from "effect/Stream"
import type { Unknown } from "../../Event.js"
import { eventJson } from "../../internal/eventJson.js"
import type { Gap } from "../../services/Pusher.js"
import { common, want } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import { eventLine } from "./eventLine.js"
import { listOf } from "../../internal/said.js"

export const tail = Command.make("tail", { ...common, want }, (options) =>
  Database.withServices(
    ({ pusher }) =>
      Stream.runForEach(
        pusher.live(listOf(options.want)),
        (event: Unknown | Gap) =>
          event._tag === "Gap"
            ? Output.note(`evt: ${event.missed} events up to ${event.upTo} were missed: too slow for them`)
            : options.json
            ? Output.line(eventJson(event.row))
            : Output.line(eventLine(event))
      ),
    { sequencer: "on" }
  )).pipe(Command.withDescription("Shows events as they come, until Ctrl-C"))
