/** Parameters of requests, read by their declared schemas. */
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { InvalidOption } from "../../EventStreamError.js"
import * as Said from "../../internal/said.js"
import type { From } from "../../services/Poller.js"
import type * as CloudEvent from "./cloudEvent.js"

/** A name that is not known is refused: misspelt, it would be something else than what was meant. */
export const query = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknown(schema, { onExcessProperty: "error" })
  return Effect.flatMap(HttpServerRequest.ParsedSearchParams, (params) => named(decode(params)))
}

const named = <A>(decoded: Effect.Effect<A, ParseResult.ParseError>): Effect.Effect<A, InvalidOption> =>
  Effect.mapError(decoded, (error) => {
    const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
    return new InvalidOption({
      option: issue!.path.map(String).join(".") || "the request",
      value: "what was given",
      expected: issue!.message.slice(0, 300)
    })
  })

/** The same for a body. */
export const json = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknown(Schema.parseJson(schema), { onExcessProperty: "error" })
  return (text: string) => named(decode(text))
}

export const integerOf = (text: string | undefined): number | undefined => text === undefined ? undefined : Number(text)

export const fromOf = (option: string, text: string): Effect.Effect<From, InvalidOption> => {
  const from = Said.fromOf(text)
  return from !== undefined
    ? Effect.succeed(from)
    : Effect.fail(
      new InvalidOption({
        option,
        value: JSON.stringify(text.slice(0, 60)),
        expected: "beginning, end, an event id or a time in ISO form"
      })
    )
}

/** Whether CloudEvents are asked for: by `format`, or by what is accepted. */
export const wantsCloudEvents = (
  format: "json" | "cloudevents" | undefined,
  accept: string | undefined,
  contentType: typeof CloudEvent.contentType | typeof CloudEvent.batchContentType
): boolean => format === undefined ? accept?.toLowerCase().includes(contentType) === true : format === "cloudevents"
