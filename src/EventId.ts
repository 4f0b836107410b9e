/**
 * The id of an event: its place in one stream's order, given after the writing transaction has committed.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { InvalidOption } from "./EventStreamError.js"

/**
 * The largest id of FTN18 (2.1.2): 999 999 999 999 999 999.
 *
 * @since 0.1.0
 * @category constants
 */
export const max = 999_999_999_999_999_999n

/**
 * A positive 64-bit integer, 1 to 999999999999999999 (FTN18 2.1.2), a `bigint` in memory. Ids of one stream only ever
 * grow; gaps are allowed, an id is never given twice.
 *
 * @since 0.1.0
 * @category schemas
 */
export const EventId = Schema.BigIntFromSelf.pipe(
  Schema.betweenBigInt(1n, max),
  Schema.brand("EventId")
).annotations({ identifier: "EventId" })

/**
 * @since 0.1.0
 * @category models
 */
export type EventId = typeof EventId.Type

/**
 * The form that an id has wherever it leaves memory (JSON, RPC, command line): a decimal string.
 *
 * @since 0.1.0
 * @category schemas
 */
export const EventIdFromString = Schema.compose(Schema.BigInt, EventId)

/**
 * What is accepted where an id is asked for: an id, or its decimal form as it came from outside.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = EventId | bigint | string | number

/**
 * Reads an id from what a caller gave. Anything but a decimal integer from 1 to 999999999999999999 is `InvalidOption`,
 * naming `option` and the value; so are numbers above 2^53, which have lost digits already.
 *
 * @since 0.1.0
 * @category constructors
 */
export const parse = (option: string, input: Input): Either.Either<EventId, InvalidOption> => {
  const refuse = (expected: string) => Either.left(new InvalidOption({ option, value: describe(input), expected }))
  if (typeof input === "number" && !Number.isSafeInteger(input)) {
    return refuse("an integer that a number holds exactly (give larger ids as bigint or string)")
  }
  if (typeof input === "string" && !/^[0-9]{1,18}$/.test(input)) {
    return refuse("a decimal event id from 1 to 999999999999999999")
  }
  if (typeof input !== "bigint" && typeof input !== "string" && typeof input !== "number") {
    return refuse("an event id")
  }
  const id = BigInt(input)
  return id >= 1n && id <= max
    ? Either.right(id as EventId)
    : refuse("a decimal event id from 1 to 999999999999999999")
}

const describe = (u: unknown): string => {
  const text = typeof u === "string" ? JSON.stringify(u) : String(u)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
