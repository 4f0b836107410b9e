import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidEvent } from "../../EventStreamError.js"
import * as EventType from "../../EventType.js"
import { common, optional } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"

const parse = (type: string, text: string): Effect.Effect<unknown, InvalidEvent> =>
  Effect.suspend(() => {
    const refuse = (part: string, reason: string) => Effect.fail(new InvalidEvent({ type, part, reason }))
    if (!EventType.namePattern.test(type)) return refuse("type", `must fit ${EventType.namePattern.source}`)
    let data: unknown
    try {
      data = JSON.parse(text)
    } catch (error) {
      return refuse("data", `is not JSON: ${error instanceof Error ? error.message : String(error)}`)
    }
    const changed = lossy(text)
    return changed === undefined
      ? Effect.succeed(data)
      : refuse("data", `has the number ${changed}, which would lose digits: write it as a string`)
  })

/** An integer that a JavaScript number does not hold. */
const lossy = (text: string): string | undefined =>
  text.replaceAll(/"(?:[^"\\]|\\.)*"/g, "\"\"").match(/-?\d+(?![\d.eE])/g)?.find((digits) =>
    digits.length > 15 && BigInt(digits) !== BigInt(Number(digits))
  )

export const emit = Command.make("emit", {
  ...common,
  key: optional("key", "What the event is about: events of one key keep their order"),
  dedupe: optional("dedupe", "Stored once: a second event with this key answers with the first one's id"),
  type: Args.text({ name: "type" }),
  data: Args.text({ name: "json" })
}, (options) =>
  Effect.gen(function*() {
    const data = yield* parse(options.type, options.data)
    const type = EventType.make(options.type, Schema.Unknown)
    const id = yield* Database.withStream(({ generator }) =>
      generator.add(type, data, { key: options.key, dedupeKey: options.dedupe })
    )
    yield* Output.either(options, { id }, id.toString())
  })).pipe(Command.withDescription("Writes one event and answers with its id"))
