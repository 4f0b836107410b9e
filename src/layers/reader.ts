/**
 * Reading the log of an event store in pages: what a want means, how far a page is complete, and sequencing on demand.
 * The Poller and the Pusher stand on it. What it rests on: the log grows at its end only, in the order of ids, so that
 * `id > position ORDER BY id` is complete however it is cut into pages (prefix stability, invariant 2).
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schedule from "effect/Schedule"
import * as Consumer from "../Consumer.js"
import * as Event from "../Event.js"
import * as EventId from "../EventId.js"
import { CursorAhead, InvalidOption, LiveNotAllowed, NotRegistered, type StoreError } from "../EventStreamError.js"
import type { EventType } from "../EventType.js"
import { namePattern } from "../EventType.js"
import type { Look, Part, Sequenced, Service as EventStore, Start } from "../services/EventStore.js"
import { Batch, type From } from "../services/Poller.js"
import { batchSize } from "./Sequencer.js"

/** A poll looks at this many rows at most, whatever is wanted. */
const window = 10_000
const maxLimit = 1000
const maxBatchBytes = 64 * 1024 * 1024

/** What a want means for the store and for the decoder. */
export interface Selection {
  readonly types: ReadonlyArray<string> | undefined
  /** Of one partition only. */
  readonly partition?: Part | undefined
  readonly decode: (row: Event.StoredEvent) => any
}

export const select = (
  want: Event.Want | undefined,
  catalog: { readonly types: ReadonlyMap<string, EventType.Any> } | undefined,
  decoder = Event.decoder
): Either.Either<Selection, InvalidOption> => {
  if (want === undefined) {
    return Either.right({ types: undefined, decode: decoder(catalog?.types ?? new Map()) })
  }
  const known = new Map<string, EventType.Any>()
  const types: Array<string> = []
  for (const item of want) {
    const name = typeof item === "string" ? item : item.name
    if (!namePattern.test(name)) {
      return Either.left(
        new InvalidOption({
          option: "want",
          value: JSON.stringify(name).slice(0, 100),
          expected: `a list of types of the form ${namePattern.source}`
        })
      )
    }
    types.push(name)
    if (typeof item !== "string") known.set(name, item)
  }
  return Either.right({ types, decode: decoder(known) })
}

/** Whether the log is read as it is; otherwise by windows, of which the rows that are not selected are passed over. */
const isEverything = ({ partition, types }: Selection): boolean => types === undefined && partition === undefined

/** How far one look lets pages be read. */
export const horizon = (selection: Selection, look: Look): bigint =>
  isEverything(selection) ? look.head : look.bound ?? 0n

const checkLimit = (limit = maxLimit): Either.Either<number, InvalidOption> => within("limit", limit, 1, maxLimit)

export const toId = (position: bigint): EventId.EventId | undefined =>
  position === 0n ? undefined : position as EventId.EventId

/** What was found after a position, and how far it is complete. */
export interface Page {
  readonly look: Look
  readonly rows: ReadonlyArray<Event.StoredEvent>
  readonly upTo: bigint
}

export const toBatch = (page: Page, selection: Selection): Batch<any> =>
  new Batch({
    events: page.rows.map(selection.decode),
    upTo: toId(page.upTo),
    generation: page.look.generation
  })

export type Reader = ReturnType<typeof make>

export const make = (store: EventStore, options: { readonly maxDataBytes: number }) => {
  /** Fewer events where they may be large: a batch is in memory as a whole. */
  const mostRows = Math.max(1, Math.min(maxLimit, Math.floor(maxBatchBytes / options.maxDataBytes)))

  const look = (ident: string | undefined, after: bigint, selection: Selection) =>
    store.look({ ident, after, window: isEverything(selection) ? 0 : window })

  const pageOf = (
    found: Look,
    after: bigint,
    selection: Selection,
    limit: number
  ): Effect.Effect<Page, StoreError> => {
    const { partition, types } = selection
    if (found.head <= after) return Effect.succeed({ look: found, rows: [], upTo: after })
    if (isEverything(selection)) {
      return Effect.map(store.page({ after, upTo: undefined, types, limit }), (rows) => ({
        look: found,
        rows,
        upTo: rows.length === 0 ? after : rows[rows.length - 1]!.id
      }))
    }
    const bound = found.bound ?? after
    if (types?.length === 0 || bound <= after) return Effect.succeed({ look: found, rows: [], upTo: bound })
    return Effect.map(store.page({ after, upTo: bound, types, partition, limit }), (rows) => ({
      look: found,
      rows,
      upTo: rows.length === limit ? rows[rows.length - 1]!.id : bound
    }))
  }

  /**
   * Sequences what is committed; the last id after that. Who is at it already is waited for, so that a caller reads what
   * it has written before, but not for long: that process may be stopped.
   */
  const sequenceOnce = (tries = 8): Effect.Effect<Sequenced, StoreError> =>
    Effect.flatMap(store.sequence(batchSize), (sequenced) =>
      sequenced.taken >= 0 || tries === 0
        ? Effect.succeed(sequenced)
        : Effect.zipRight(Effect.sleep(10 - tries), sequenceOnce(tries - 1)))
  const sequence = (): Effect.Effect<bigint, StoreError> => Effect.map(sequenceOnce(), ({ head }) => head)

  /** The last id when everything has one that is committed now, however much that is. */
  const sequenceAll: Effect.Effect<bigint, StoreError> = Effect.suspend(() =>
    store.sequenced
      ? Effect.flatMap(sequenceOnce(), ({ head, taken }) => taken >= batchSize ? sequenceAll : Effect.succeed(head))
      : Effect.map(store.look({ ident: undefined, after: 0n, window: 0 }), ({ head }) => head)
  )

  /** Reads on from `after`. If the log has less than asked for, what is committed is sequenced and read as well. */
  const read = (
    ident: string | undefined,
    found: Look,
    after: bigint,
    selection: Selection,
    limit: number
  ): Effect.Effect<Page, StoreError> =>
    Effect.flatMap(pageOf(found, after, selection, limit), (page) => {
      if (page.rows.length >= limit || !store.sequenced) return Effect.succeed(page)
      return Effect.flatMap(sequence(), (head) =>
        head <= found.head
          ? Effect.succeed(page)
          : Effect.flatMap(look(ident, after, selection), (again) => pageOf(again, after, selection, limit)))
    })

  return {
    look,
    mostRows,
    pageOf,
    sequence,
    sequenceAll,
    read,
    /** How many events a batch may have: what was asked for, fewer where they may be large. */
    limit: (asked: number | undefined) => Either.map(checkLimit(asked), (limit) => Math.min(mostRows, limit))
  }
}

/** A cursor beyond the stream's end can only be wrong: never wait for the stream to catch up with it. */
export const notAhead = (name: string, cursor: bigint, found: Look) =>
  cursor > found.head
    ? Effect.fail(new CursorAhead({ consumer: name, cursor, head: found.head }))
    : Effect.void

export const registered = (name: string, found: Look): Effect.Effect<bigint, NotRegistered> =>
  found.cursor === undefined ? Effect.fail(new NotRegistered({ consumer: name })) : Effect.succeed(found.cursor)

export const identOf = (operation: string, consumer: Consumer.Consumer) =>
  Effect.flatMap(
    Consumer.ident(consumer),
    (ident) => Consumer.isLive(consumer) ? Effect.fail(new LiveNotAllowed({ operation })) : Effect.succeed(ident)
  )

/** What a place to start from means for the store. */
export const startOf = (from: From): Effect.Effect<Start, InvalidOption> => {
  if (from === "beginning" || from === "end") return Effect.succeed(from)
  if ("after" in from) return Effect.map(EventId.parse("from.after", from.after), (after) => ({ after }))
  const time = from.time instanceof Date ? from.time.getTime() : NaN
  return Number.isFinite(time)
    ? Effect.succeed({ time })
    : Effect.fail(new InvalidOption({ option: "from.time", value: String(from.time), expected: "a valid Date" }))
}

export const defaultRetry = Schedule.exponential("50 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered
)

/** Tries again while the database fails, by default for ever. */
export const reconnecting =
  (schedule: Schedule.Schedule<unknown, StoreError> | undefined) =>
  <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.retry(effect, {
      while: (error) => error._tag === "StoreError" && (error as unknown as StoreError).retryable,
      schedule: (schedule ?? defaultRetry) as Schedule.Schedule<unknown, unknown>
    })

/** An option with a smallest and a largest value. */
export const within = (
  option: string,
  value: number,
  least: number,
  most: number
): Either.Either<number, InvalidOption> =>
  Number.isInteger(value) && value >= least && value <= most
    ? Either.right(value)
    : Either.left(new InvalidOption({ option, value: String(value), expected: `an integer from ${least} to ${most}` }))

/** An option that counts something. */
export const fromOne = (option: string, value: number): Either.Either<number, InvalidOption> =>
  Number.isInteger(value) && value >= 1
    ? Either.right(value)
    : Either.left(new InvalidOption({ option, value: String(value), expected: "an integer from 1" }))

/** Whether an event is of a partition. */
export const isOf = ({ number, of }: Part, { keyHash }: Pick<Event.StoredEvent, "keyHash">): boolean =>
  keyHash % of === number

/** Those of unfiltered rows that are wanted. */
export const filterOf = (
  { partition, types }: Selection
): (rows: ReadonlyArray<Event.StoredEvent>) => ReadonlyArray<Event.StoredEvent> => {
  const wanted = types === undefined ? undefined : new Set(types)
  if (partition !== undefined) {
    return (rows) => rows.filter((row) => isOf(partition, row) && (wanted === undefined || wanted.has(row.type)))
  }
  return wanted === undefined ? (rows) => rows : (rows) => rows.filter((row) => wanted.has(row.type))
}
