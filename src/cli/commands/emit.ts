import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Event from "../../Event.js"
import { common, optional } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"

/** The stream's own limit decides. */
const maxDataBytes = Infinity

export const emit = Command.make("emit", {
  ...common,
  key: optional("key", "What the event is about: events of one key keep their order"),
  dedupe: optional("dedupe", "Stored once: a second event with this key answers with the first one's id"),
  type: Args.text({ name: "type" }),
  data: Args.text({ name: "json" })
}, ({ data, dedupe, key, type, ...options }) =>
  Effect.gen(function*() {
    const event = yield* Event.fromJson(type, data, { key, dedupeKey: dedupe, maxDataBytes })
    const [id] = yield* Database.withServices(({ generator }) => generator.append([event]))
    yield* Output.either(options, { id: id! }, id!.toString())
  })).pipe(Command.withDescription("Writes one event, its data as it is given, and answers with its id"))
