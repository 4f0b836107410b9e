/** The events in the body of a request: ours or CloudEvents, one or a list, with their data as it was written. */
import * as Either from "effect/Either"
import * as Event from "../../Event.js"
import { InvalidEvent, InvalidOption } from "../../EventStreamError.js"
import { invalid } from "./body.js"
import * as CloudEvent from "./cloudEvent.js"
import type { Members } from "../../internal/jsonMembers.js"
import { read } from "./members.js"

type Options = { readonly maxDataBytes: number }
type Made = Either.Either<Event.NewEvent, InvalidEvent>

/** The content types that are read, and whether it is a list. */
export const contentTypes = ["application/json", CloudEvent.contentType, CloudEvent.batchContentType] as const

/** Undefined: none of them. Without one it is JSON. */
export const contentTypeOf = (header = "application/json"): (typeof contentTypes)[number] | undefined => {
  const said = header.split(";", 1)[0]!.trim().toLowerCase()
  return contentTypes.find((type) => type === said)
}

export const parse = (
  text: string,
  contentType: (typeof contentTypes)[number],
  options: Options
): Either.Either<ReadonlyArray<Event.NewEvent>, InvalidEvent | InvalidOption> =>
  Either.flatMap(
    Either.mapLeft(read(text), (wrong) => invalid("an event or a list of events", wrong)),
    ({ list, objects }): Either.Either<ReadonlyArray<Event.NewEvent>, InvalidEvent | InvalidOption> => {
      if (contentType === CloudEvent.batchContentType ? !list : contentType === CloudEvent.contentType && list) {
        return Either.left(invalid(`what ${contentType} says`, list ? "a list" : "an object"))
      }
      const make = contentType === "application/json" ? plain : cloud
      return Either.all(objects.map((members) => make(members, options)))
    }
  )

/** A member that is a string, or absent; what else it is becomes part of a failure. */
const reader = (members: Members) => {
  const issues: Array<InvalidEvent> = []
  const typeText = members.get("type")
  const type = typeText?.startsWith(`"`) ? JSON.parse(typeText) as string : ""
  const refuse = (part: string, reason: string) => {
    issues.push(new InvalidEvent({ type: type.slice(0, 100), part, reason }))
  }
  if (typeText === undefined) refuse("type", "is missing")
  return {
    type,
    refuse,
    string: (name: string): string | undefined => {
      const text = members.get(name)
      if (text === undefined || text === "null") return undefined
      if (text.startsWith(`"`)) return JSON.parse(text)
      refuse(name, "must be a string")
      return undefined
    },
    integer: (name: string): number | undefined => {
      const text = members.get(name)
      if (text === undefined || text === "null") return undefined
      if (/^\d{1,15}$/.test(text)) return Number(text)
      refuse(name, "must be an integer from 1")
      return undefined
    },
    unless: (make: () => Made): Made => issues.length > 0 ? Either.left(issues[0]!) : make()
  }
}

const known = new Set(["type", "data", "key", "dedupeKey", "correlationId", "causationId", "version"])

const plain = (members: Members, { maxDataBytes }: Options): Made => {
  const { integer, refuse, string, type, unless } = reader(members)
  for (const name of members.keys()) {
    if (!known.has(name)) refuse(name.slice(0, 64), `is no member of an event: it may have ${[...known].join(", ")}`)
  }
  const data = members.get("data")
  if (data === undefined) refuse("data", "is missing")
  const options = {
    key: string("key"),
    dedupeKey: string("dedupeKey"),
    correlationId: string("correlationId"),
    causationId: string("causationId"),
    version: integer("version"),
    maxDataBytes
  }
  return unless(() => Event.fromJson(type, data!, options))
}

const cloud = (members: Members, { maxDataBytes }: Options): Made => {
  const { integer, refuse, string, type, unless } = reader(members)
  const { attributeOf } = CloudEvent
  if (string("specversion") !== "1.0") refuse("specversion", "must be \"1.0\"")
  const id = string("id")
  const source = string("source")
  if (!id) refuse("id", "is missing")
  if (!source) refuse("source", "is missing")
  if (members.has("data_base64")) refuse("data", "is binary (data_base64), which a stream cannot hold")
  const traceparent = string(attributeOf.traceparent)
  const tracestate = string(attributeOf.tracestate)
  const options = {
    key: string("subject"),
    correlationId: string(attributeOf.correlationId),
    causationId: string(attributeOf.causationId),
    version: integer(attributeOf.version),
    maxDataBytes,
    ...(traceparent === undefined
      ? {}
      : { trace: { traceparent, ...(tracestate === undefined ? {} : { tracestate }) } })
  }
  return unless(() =>
    Event.fromJson(type, members.get("data") ?? "null", {
      ...options,
      dedupeKey: CloudEvent.dedupeKeyOf(source!, id!)
    })
  )
}
