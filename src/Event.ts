/**
 * Events: as they are given to `emit`, and as readers get them.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import type { EventId } from "./EventId.js"
import { InvalidEvent } from "./EventStreamError.js"
import * as EventType from "./EventType.js"
import { isRedacted } from "./internal/redacted.js"
import * as Json from "./internal/json.js"
import { keyIssue } from "./internal/key.js"
import { keyHash } from "./internal/keyHash.js"
import { isUuid, uuidv7 } from "./internal/uuid.js"

/**
 * What travels with an event beside its payload. `version` is the payload version and is written by the library.
 *
 * @since 0.1.0
 * @category models
 */
export interface Meta {
  /** Version of the payload; absent means 1. */
  readonly version?: number | undefined
  /** Names the conversation that the event belongs to. */
  readonly correlationId?: string | undefined
  /** Names what caused the event: a command or another event's uid. */
  readonly causationId?: string | undefined
  /** W3C Trace Context of the emitting span. */
  readonly traceparent?: string | undefined
  readonly tracestate?: string | undefined
  /** The event's data was erased (`Consumers.redact`). */
  readonly redacted?: boolean | undefined
}

/**
 * What may be said with an event when it is emitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface EmitOptions {
  /** What the event is about, instead of what its declaration's `key` says. 1 to 255 characters. */
  readonly key?: string | undefined
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
  /**
   * A second event with the same dedupe key is not stored while the first is retained; `add` answers with the first
   * one's id. 1 to 255 characters.
   */
  readonly dedupeKey?: string | undefined
}

/**
 * An event that is to be written: already encoded and checked, so that it can be made before a transaction begins.
 *
 * @since 0.1.0
 * @category models
 */
export interface NewEvent {
  readonly uid: string
  readonly type: string
  readonly key: string | null
  readonly keyHash: number
  /** JSON text or null. */
  readonly meta: string | null
  readonly dedupeKey: string | null
  /** JSON text, stored byte for byte. */
  readonly data: string
}

/**
 * Encodes and checks one event. Left is `InvalidEvent`, saying which part is wrong and why: data that its schema
 * refuses, or that JSON cannot hold (`undefined`, NaN, BigInt, cycles), data longer than `maxDataBytes` bytes of UTF-8,
 * a key of the wrong length or with U+0000 or half a surrogate pair.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <T extends EventType.EventType.Any>(
  type: T,
  data: EventType.EventType.Data<T>,
  options: EmitOptions & { readonly maxDataBytes: number; readonly trace?: Pick<Meta, "traceparent" | "tracestate"> }
): Either.Either<NewEvent, InvalidEvent> => {
  const refuse = (part: string, reason: string) => Either.left(new InvalidEvent({ type: type.name, part, reason }))
  const encoded = type.encode(data)
  if (Either.isLeft(encoded)) return refuse("data", `does not fit its schema: ${encoded.left.message}`)
  const text = Json.encode(encoded.right)
  if (Either.isLeft(text)) return refuse("data", text.left)
  let key: string | undefined
  try {
    key = options.key ?? type.key?.(data)
  } catch (error) {
    return refuse("key", `cannot be computed: ${error instanceof Error ? error.message : String(error)}`)
  }
  return written(type, text.right, { ...options, key })
}

/**
 * Checks one event whose data is JSON text already: the text is stored byte for byte, whatever numbers it has. For
 * gateways and tools; programs declare their types.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromJson = (
  type: string,
  json: string,
  options: Parameters<typeof make>[2] & {
    /** Version of the payload's form. Default 1. */
    readonly version?: number | undefined
  }
): Either.Either<NewEvent, InvalidEvent> => {
  const issue = typeIssue(type)
  if (issue !== undefined) return Either.left(issue)
  const { version = 1 } = options
  const refuse = (part: string, reason: string) => Either.left(new InvalidEvent({ type, part, reason }))
  if (!Number.isSafeInteger(version) || version < 1) {
    return refuse("meta", `version must be an integer from 1, not ${version}`)
  }
  const wrong = Json.textIssue(json)
  return wrong === undefined ? written({ name: type, version }, json, options) : refuse("data", wrong)
}

/**
 * Checks an event that was made elsewhere, by `make` or `fromJson` of another process, before it is stored here.
 *
 * @since 0.1.0
 * @category constructors
 */
export const check = (
  event: NewEvent,
  options: { readonly maxDataBytes: number }
): Either.Either<NewEvent, InvalidEvent> => {
  const issue = typeIssue(event.type)
  if (issue !== undefined) return Either.left(issue)
  const refuse = (part: string, reason: string) => Either.left(new InvalidEvent({ type: event.type, part, reason }))
  if (!isUuid(event.uid)) {
    return refuse("uid", `must be a UUID in small letters, not ${JSON.stringify(event.uid).slice(0, 60)}`)
  }
  const wrong = Json.textIssue(event.data)
  if (wrong !== undefined) return refuse("data", wrong)
  if (event.meta !== null) {
    const meta = Json.textIssue(event.meta) ?? (event.meta.startsWith("{") ? undefined : "is no object")
    if (meta !== undefined) return refuse("meta", meta)
    if (event.meta.length > mostMeta) {
      return refuse("meta", `has ${event.meta.length} characters, more than ${mostMeta}`)
    }
  }
  return finished(event, options.maxDataBytes)
}

const typeIssue = (type: string): InvalidEvent | undefined =>
  EventType.namePattern.test(type)
    ? undefined
    : new InvalidEvent({ type: type.slice(0, 100), part: "type", reason: `must fit ${EventType.namePattern.source}` })

/** What a baggage of meta may have in characters, from elsewhere. */
const mostMeta = 8192

const written = (
  type: { readonly name: string; readonly version: number },
  data: string,
  options: Parameters<typeof make>[2]
): Either.Either<NewEvent, InvalidEvent> =>
  Either.flatMap(
    Either.mapLeft(
      makeMeta(type.version, options),
      (reason) => new InvalidEvent({ type: type.name, part: "meta", reason })
    ),
    (meta) =>
      finished({
        uid: uuidv7(),
        type: type.name,
        key: options.key ?? null,
        meta,
        dedupeKey: options.dedupeKey ?? null,
        data
      }, options.maxDataBytes)
  )

const finished = (
  event: Omit<NewEvent, "keyHash">,
  maxDataBytes: number
): Either.Either<NewEvent, InvalidEvent> => {
  const { data, dedupeKey, key, meta, type, uid } = event
  const refuse = (part: string, reason: string) => Either.left(new InvalidEvent({ type, part, reason }))
  const bytes = Buffer.byteLength(data)
  if (bytes > maxDataBytes) {
    return refuse("data", `has ${bytes} bytes of JSON, more than the ${maxDataBytes} that are allowed`)
  }
  if (key !== null) {
    const issue = keyIssue(key)
    if (issue !== undefined) return refuse("key", issue)
  }
  if (dedupeKey !== null) {
    const issue = keyIssue(dedupeKey)
    if (issue !== undefined) return refuse("dedupeKey", issue)
  }
  return Either.right({
    uid,
    type,
    key,
    keyHash: key === null ? parseInt(uid.slice(-8), 16) : keyHash(key),
    meta,
    dedupeKey,
    data
  })
}

const makeMeta = (
  version: number,
  options: EmitOptions & { readonly trace?: Pick<Meta, "traceparent" | "tracestate"> }
): Either.Either<string | null, string> => {
  if (
    version === 1 && options.correlationId === undefined && options.causationId === undefined &&
    options.trace === undefined
  ) {
    return Either.right(null)
  }
  const meta: Record<string, unknown> = {}
  if (version !== 1) meta.version = version
  if (options.correlationId !== undefined) meta.correlationId = options.correlationId
  if (options.causationId !== undefined) meta.causationId = options.causationId
  if (options.trace?.traceparent !== undefined) meta.traceparent = options.trace.traceparent
  if (options.trace?.tracestate !== undefined) meta.tracestate = options.trace.tracestate
  return Json.encode(meta)
}

/**
 * A row of the log, before anything of it is parsed.
 *
 * @since 0.1.0
 * @category models
 */
export interface StoredEvent {
  readonly id: EventId
  readonly uid: string
  readonly type: string
  readonly key: string | null
  /** 32 bits of the key, or of the uid where there is none: what partitions are made of. */
  readonly keyHash: number
  readonly meta: string | null
  readonly data: string
  /** Milliseconds since 1970, UTC, by the database's clock at insert. Not monotonic in `id`. */
  readonly ts: number
  /** What it was decoded to last, and by which declaration: subscribers of one process share it. @internal */
  memo?: { readonly type: EventType.EventType.Any; readonly event: Known<string, unknown> | Undecodable } | undefined
}

abstract class Base<Name extends string> {
  readonly id: EventId
  readonly uid: string
  readonly type: Name
  readonly key: string | null
  /** Milliseconds since 1970, UTC, by the database's clock at insert. Not monotonic in `id`. */
  readonly ts: number
  /** @internal */
  readonly row: StoredEvent
  constructor(row: StoredEvent) {
    this.id = row.id
    this.uid = row.uid
    this.type = row.type as Name
    this.key = row.key
    this.ts = row.ts
    this.row = row
  }
  /** The payload's JSON text exactly as it was emitted. */
  get json(): string {
    return this.row.data
  }
  get meta(): Meta {
    return this.row.meta === null ? {} : parseMeta(this.row.meta)
  }
  /** Version of the payload as it was written. */
  get version(): number {
    return this.row.meta === null ? 1 : this.meta.version ?? 1
  }
  /** Whether its data was erased (`Consumers.redact`): there is nothing left to handle. */
  get redacted(): boolean {
    return isRedacted(this.row)
  }
  toJSON(): unknown {
    const key = this.key === null ? {} : { key: this.key }
    const meta = this.row.meta === null ? {} : { meta: this.meta }
    const ts = new Date(this.ts).toISOString()
    return { id: this.id.toString(), uid: this.uid, type: this.type, ...key, ...meta, ts, data: parseOr(this.row.data) }
  }
}

const parseMeta = (text: string): Meta => {
  const meta = parseOr(text)
  return typeof meta === "object" && meta !== null ? meta : {}
}

const parseOr = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/**
 * An event of a declared type, decoded.
 *
 * @since 0.1.0
 * @category models
 */
export class Known<Name extends string, A> extends Base<Name> {
  readonly _tag = "Known"
  readonly data: A
  constructor(row: StoredEvent, data: A) {
    super(row)
    this.data = data
  }
}

/**
 * An event of a type that the reader has no declaration for; `data` is its JSON value.
 *
 * @since 0.1.0
 * @category models
 */
export class Unknown extends Base<string> {
  readonly _tag = "Unknown"
  get data(): unknown {
    return parseOr(this.row.data)
  }
}

/**
 * An event of a declared type whose data does not decode, or whose version is newer than the declaration.
 *
 * @since 0.1.0
 * @category models
 */
export class Undecodable<Name extends string = string> extends Base<Name> {
  readonly _tag = "Undecodable"
  /** Why, as a sentence. */
  readonly issue: string
  constructor(row: StoredEvent, issue: string) {
    super(row)
    this.issue = issue
  }
}

/**
 * What a reader may ask for: declarations (decoded) and plain type names (as `Unknown`).
 *
 * @since 0.1.0
 * @category models
 */
export type Want = ReadonlyArray<EventType.EventType.Any | string>

/**
 * What a reader gets of one declaration.
 *
 * @since 0.1.0
 * @category models
 */
export type Of<T extends EventType.EventType.Any> = T extends EventType.EventType<infer Name, infer A, infer _I>
  ? Known<Name, A> | Undecodable<Name>
  : never

/**
 * What a reader gets who wants `W` and knows the declarations `C`: without a want every event, those of `C` decoded.
 *
 * @since 0.1.0
 * @category models
 */
export type Wanted<W extends Want | undefined, C extends EventType.EventType.Any> = W extends Want
  ? Of<Extract<W[number], EventType.EventType.Any>> | ([Extract<W[number], string>] extends [never] ? never : Unknown)
  : Of<C> | Unknown

/**
 * Makes a decoder of rows from the declarations that a reader knows.
 *
 * @since 0.1.0
 * @category decoding
 */
export const decoder =
  (known: ReadonlyMap<string, EventType.EventType.Any>) =>
  (row: StoredEvent): Known<string, unknown> | Unknown | Undecodable => {
    const type = known.get(row.type)
    return type === undefined ? new Unknown(row) : decode(type, row)
  }

/**
 * The same for rows that several readers take from memory: who asks with the same declaration gets the same object.
 *
 * @internal
 */
export const sharedDecoder =
  (known: ReadonlyMap<string, EventType.EventType.Any>): ReturnType<typeof decoder> => (row) => {
    const type = known.get(row.type)
    if (type === undefined) return new Unknown(row)
    if (row.memo?.type === type) return row.memo.event
    const event = decode(type, row)
    row.memo = { type, event }
    return event
  }

const decode = (
  type: EventType.EventType.Any,
  row: StoredEvent
): Known<string, unknown> | Undecodable => {
  let data: unknown
  try {
    data = JSON.parse(row.data)
    if (type.version !== 1 || row.meta !== null) {
      const meta = row.meta === null ? {} : parseMeta(row.meta)
      if (isRedacted(row)) return new Undecodable(row, "its data was erased on request")
      const version = meta.version ?? 1
      if (version > type.version) {
        return new Undecodable(
          row,
          `version ${version} of ${type.name} is newer than version ${type.version} known here`
        )
      }
      for (let v = version; v < type.version; v++) data = type.upcast[v]!(data)
    }
  } catch (error) {
    return new Undecodable(row, error instanceof Error ? error.message : String(error))
  }
  const decoded: Either.Either<unknown, ParseResult.ParseError> = type.decode(data)
  return Either.isRight(decoded) ? new Known(row, decoded.right) : new Undecodable(row, decoded.left.message)
}
