/**
 * The form in which things cross the wire. Positions and ids are decimal strings; rows are one flat array of their fields,
 * with the JSON text of their data as it is stored: what has thousands of elements is not walked by a schema.
 */
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { NewEvent, StoredEvent } from "../../Event.js"
import type { EventId } from "../../EventId.js"

/** An id, or 0. Bounded, because reading a long number is slow. */
export const Position = Schema.compose(Schema.String.pipe(Schema.pattern(/^\d{1,19}$/)), Schema.BigInt)

const Flat = Schema.declare((u): u is ReadonlyArray<unknown> => Array.isArray(u))

const isText = (u: unknown): u is string => typeof u === "string"
const isTextOrNull = (u: unknown): u is string | null => u === null || typeof u === "string"
const isCount = (u: unknown): u is number => typeof u === "number" && Number.isSafeInteger(u)
const isId = (u: unknown): u is string => typeof u === "string" && /^\d{1,19}$/.test(u)

/** Lists whose elements have `width` fields each; undefined from `read`: an element that is none. */
const flat = <A>(
  width: number,
  read: (from: ReadonlyArray<unknown>, at: number) => A | undefined,
  write: (to: Array<unknown>, element: A) => void
): Schema.Schema<ReadonlyArray<A>, ReadonlyArray<unknown>> =>
  Schema.transformOrFail(
    Flat,
    Schema.declare((u): u is ReadonlyArray<A> => Array.isArray(u)),
    {
      strict: true,
      decode: (fields, _, ast) => {
        const wrong = () =>
          ParseResult.fail(new ParseResult.Type(ast, "…", `a list of ${width} fields for each element`))
        if (fields.length % width !== 0) return wrong()
        const list: Array<A> = []
        for (let at = 0; at < fields.length; at += width) {
          const element = read(fields, at)
          if (element === undefined) return wrong()
          list.push(element)
        }
        return ParseResult.succeed(list)
      },
      encode: (list) => {
        const fields: Array<unknown> = []
        for (const element of list) write(fields, element)
        return ParseResult.succeed(fields)
      }
    }
  )

export const Rows = flat<StoredEvent>(
  8,
  (from, at) => {
    const [id, uid, type, key, keyHash, meta, data, ts] = from.slice(at, at + 8)
    return isId(id) && isText(uid) && isText(type) && isTextOrNull(key) && isCount(keyHash) && isTextOrNull(meta) &&
        isText(data) && typeof ts === "number"
      ? { id: BigInt(id) as EventId, uid, type, key, keyHash, meta, data, ts }
      : undefined
  },
  (to, { data, id, key, keyHash, meta, ts, type, uid }) =>
    to.push(id.toString(), uid, type, key, keyHash, meta, data, ts)
)

/** What the server finds out by itself, the hash, is not sent. */
export const NewEvents = flat<Omit<NewEvent, "keyHash">>(
  6,
  (from, at) => {
    const [uid, type, key, meta, dedupeKey, data] = from.slice(at, at + 6)
    return isText(uid) && isText(type) && isTextOrNull(key) && isTextOrNull(meta) && isTextOrNull(dedupeKey) &&
        isText(data)
      ? { uid, type, key, meta, dedupeKey, data }
      : undefined
  },
  (to, { data, dedupeKey, key, meta, type, uid }) => to.push(uid, type, key, meta, dedupeKey, data)
)

/** How many bytes an event has on the wire, about: in UTF-8, the rest of the row included. */
export const sizeOf = (row: Pick<StoredEvent, "data" | "key" | "meta">): number =>
  Buffer.byteLength(row.data) + (row.meta?.length ?? 0) + (row.key?.length ?? 0) + 150

/** As many of them as `bytes` hold, but at least one. */
export const fitting = <A>(list: ReadonlyArray<A>, bytes: number, size: (element: A) => number): ReadonlyArray<A> => {
  let left = bytes
  for (let i = 0; i < list.length; i++) {
    left -= size(list[i]!)
    if (left < 0 && i > 0) return list.slice(0, i)
  }
  return list
}

const text = (longest: number) => Schema.String.pipe(Schema.maxLength(longest))

/** Whose consumer: without a user the caller's. Whether it is well-formed is said by the services. */
export const Who = Schema.Struct({ user: Schema.optional(text(100)), component: text(100) })
export type Who = typeof Who.Type

export const From = Schema.Union(
  Schema.Literal("beginning", "end"),
  Schema.Struct({ after: Position }),
  Schema.Struct({ time: Schema.Number })
)
export type From = typeof From.Type

/** The rest of what is asked for with events. */
export const asking = {
  want: Schema.optional(Schema.Array(text(100)).pipe(Schema.maxItems(10_000))),
  limit: Schema.optional(Schema.Number)
}

export const Registration = Schema.Struct({
  from: Schema.optional(From),
  mode: Schema.optional(Schema.Literal("shared", "exclusive"))
})

export const Page = Schema.Struct({ rows: Rows, upTo: Position, generation: Schema.Number })

/** What comes in a subscription: first where it begins, then pages. */
export const Frame = Schema.Union(
  Schema.TaggedStruct("Opened", {
    ident: Schema.String,
    epoch: Position,
    cursor: Position,
    /** Whether nobody but this receiver had the consumer since the epoch that it named. */
    continued: Schema.Boolean
  }),
  Schema.TaggedStruct("Page", { ...Page.fields })
)
export type Frame = typeof Frame.Type

/** What comes in a live stream: `missed` events up to `upTo` were left out. */
export const LiveFrame = Schema.Struct({ missed: Schema.Number, rows: Rows, upTo: Position })
export type LiveFrame = typeof LiveFrame.Type

export const Letters = Schema.Struct({
  rows: Rows,
  /** Of the same length. */
  about: Schema.Array(Schema.Struct({
    error: Schema.String,
    attempts: Schema.Number,
    parked: Schema.Boolean,
    redrive: Schema.Boolean,
    failedAt: Schema.Number
  })),
  /** There are more, which the answer had no room for. */
  more: Schema.Boolean
})

/** An event that is given up: the server has the event itself. */
export const GivenUp = Schema.Struct({
  id: Position,
  error: text(20_000),
  attempts: Schema.Number,
  parked: Schema.Boolean
})

export const Which = Schema.Union(
  Schema.Literal("all"),
  Schema.Struct({ key: Schema.String }),
  Schema.Struct({ ids: Schema.Array(Position) })
)

export const Erasing = Schema.Union(
  Schema.Struct({ key: Schema.String }),
  Schema.Struct({ ids: Schema.Array(Position) })
)

const Lag = Schema.Struct({ events: Schema.Number, seconds: Schema.Number })

export const Info = Schema.Struct({
  consumer: Schema.String,
  user: Schema.String,
  component: Schema.String,
  cursor: Schema.UndefinedOr(Position),
  lag: Lag,
  state: Schema.Literal("active", "idle", "paused"),
  paused: Schema.UndefinedOr(Schema.String),
  lease: Schema.UndefinedOr(Schema.Struct({ owner: Schema.String, expiresIn: Schema.Number })),
  partitions: Schema.UndefinedOr(Schema.Array(Schema.Struct({
    number: Schema.Number,
    cursor: Schema.UndefinedOr(Position),
    lag: Lag,
    owner: Schema.UndefinedOr(Schema.Struct({ member: Schema.String, expiresIn: Schema.Number }))
  }))),
  exclusive: Schema.Boolean,
  deadLetters: Schema.Number,
  parked: Schema.Number,
  registeredAt: Schema.Date,
  movedAt: Schema.Date
})

export const AuditEntry = Schema.Struct({
  id: Position,
  at: Schema.Date,
  actor: Schema.String,
  action: Schema.String,
  consumer: Schema.UndefinedOr(Schema.String),
  detail: Schema.Unknown
})
