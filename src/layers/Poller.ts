/**
 * The Poller on an event store. What it rests on: the log grows at its end only, in the order of ids, so that
 * `id > position ORDER BY id` is complete however it is cut into pages (prefix stability, invariant 2).
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Consumer from "../Consumer.js"
import * as Event from "../Event.js"
import * as EventId from "../EventId.js"
import {
  CursorAhead,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  type StoreError,
  StreamChanged
} from "../EventStreamError.js"
import type { EventType } from "../EventType.js"
import { namePattern } from "../EventType.js"
import type { Look, Service as EventStore, Start } from "../services/EventStore.js"
import { Batch, type Delivery, type From, type PollError, type Service } from "../services/Poller.js"
import * as Idle from "../streams/Idle.js"
import { batchSize } from "./Sequencer.js"

/** A poll looks at this many rows at most, whatever is wanted. */
const window = 10_000
const maxLimit = 1000
const maxBatchBytes = 64 * 1024 * 1024

/** What a want means for the store and for the decoder. */
interface Selection {
  readonly types: ReadonlyArray<string> | undefined
  readonly decode: (row: Event.StoredEvent) => any
}

const select = (
  want: Event.Want | undefined,
  catalog: { readonly types: ReadonlyMap<string, EventType.Any> } | undefined
): Either.Either<Selection, InvalidOption> => {
  if (want === undefined) {
    return Either.right({ types: undefined, decode: Event.decoder(catalog?.types ?? new Map()) })
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
  return Either.right({ types, decode: Event.decoder(known) })
}

const checkLimit = (limit = maxLimit): Either.Either<number, InvalidOption> =>
  Number.isInteger(limit) && limit >= 1 && limit <= maxLimit
    ? Either.right(limit)
    : Either.left(new InvalidOption({ option: "limit", value: String(limit), expected: "an integer from 1 to 1000" }))

const toId = (position: bigint): EventId.EventId | undefined =>
  position === 0n ? undefined : position as EventId.EventId

/** What was found after a position, and how far it is complete. */
interface Page {
  readonly look: Look
  readonly rows: ReadonlyArray<Event.StoredEvent>
  readonly upTo: bigint
}

const toBatch = (page: Page, selection: Selection): Batch<any> =>
  new Batch({
    events: page.rows.map(selection.decode),
    upTo: toId(page.upTo),
    generation: page.look.generation
  })

export const make = (store: EventStore, options: { readonly maxDataBytes: number }): Service => {
  /** Fewer events where they may be large: a batch is in memory as a whole. */
  const mostRows = Math.max(1, Math.min(maxLimit, Math.floor(maxBatchBytes / options.maxDataBytes)))

  /** The last id offered to a consumer and not yet acknowledged, as far as this process has seen. */
  const offered = new Map<string, bigint>()

  const look = (ident: string | undefined, after: bigint, selection: Selection) =>
    store.look({ ident, after, window: selection.types === undefined ? 0 : window })

  const pageOf = (
    found: Look,
    after: bigint,
    { types }: Selection,
    limit: number
  ): Effect.Effect<Page, StoreError> => {
    if (found.head <= after) return Effect.succeed({ look: found, rows: [], upTo: after })
    if (types === undefined) {
      return Effect.map(store.page({ after, upTo: undefined, types, limit }), (rows) => ({
        look: found,
        rows,
        upTo: rows.length === 0 ? after : rows[rows.length - 1]!.id
      }))
    }
    const bound = found.bound ?? after
    if (types.length === 0 || bound <= after) return Effect.succeed({ look: found, rows: [], upTo: bound })
    return Effect.map(store.page({ after, upTo: bound, types, limit }), (rows) => ({
      look: found,
      rows,
      upTo: rows.length === limit ? rows[rows.length - 1]!.id : bound
    }))
  }

  /**
   * Sequences what is committed; the last id after that. Who is at it already is waited for, so that a caller reads what
   * it has written before, but not for long: that process may be stopped.
   */
  const sequence = (tries = 8): Effect.Effect<bigint, StoreError> =>
    Effect.flatMap(store.sequence(batchSize), ({ head, taken }) =>
      taken >= 0 || tries === 0
        ? Effect.succeed(head)
        : Effect.zipRight(Effect.sleep(10 - tries), sequence(tries - 1)))

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

  /** A cursor beyond the stream's end can only be wrong: never wait for the stream to catch up with it. */
  const notAhead = (name: string, cursor: bigint, found: Look) =>
    cursor > found.head
      ? Effect.fail(new CursorAhead({ consumer: name, cursor, head: found.head }))
      : Effect.void

  const registered = (name: string, found: Look): Effect.Effect<bigint, NotRegistered> =>
    found.cursor === undefined ? Effect.fail(new NotRegistered({ consumer: name })) : Effect.succeed(found.cursor)

  const identOf = (operation: string, consumer: Consumer.Consumer) =>
    Effect.flatMap(
      Consumer.ident(consumer),
      (ident) => Consumer.isLive(consumer) ? Effect.fail(new LiveNotAllowed({ operation })) : Effect.succeed(ident)
    )

  const poll: Service["poll"] = (consumer, options) =>
    store.outside(
      "poll",
      Effect.gen(function*() {
        const name = yield* Consumer.ident(consumer)
        const ident = Consumer.isLive(consumer) ? undefined : name
        const limit = Math.min(mostRows, yield* checkLimit(options?.limit))
        const selection = yield* select(options?.want, options?.catalog)
        const lastId = options?.lastId === undefined ? 0n : yield* EventId.parse("lastId", options.lastId)
        const found = yield* look(ident, lastId, selection)
        const cursor = ident === undefined ? 0n : yield* registered(name, found)
        if (options?.generation !== undefined && options.generation !== found.generation) {
          return yield* new StreamChanged({ ours: found.generation, theirs: options.generation })
        }
        yield* notAhead(name, lastId > cursor ? lastId : cursor, found)
        const after = lastId > cursor ? lastId : cursor
        if (ident !== undefined && lastId > cursor) yield* store.acknowledge(ident, lastId)
        const page = yield* read(ident, found, after, selection, limit)
        if (ident !== undefined) {
          const last = offered.get(ident) ?? 0n
          if (page.rows.length > 0) {
            const end = page.rows[page.rows.length - 1]!.id
            if (end > last) offered.set(ident, end)
          } else if (last <= after) {
            offered.delete(ident)
            if (page.upTo > after) yield* store.acknowledge(ident, page.upTo)
          }
        }
        return toBatch(page, selection)
      })
    )

  const register: Service["register"] = (consumer, options) =>
    store.outside(
      "register",
      Effect.gen(function*() {
        const ident = yield* identOf("register", consumer)
        const start = yield* startOf(options?.from ?? "beginning")
        if (typeof start === "object" && "after" in start) {
          yield* notAhead(ident, start.after, yield* store.look({ ident: undefined, after: 0n, window: 0 }))
        }
        return toId(yield* store.register(ident, start))
      })
    )

  const unregister: Service["unregister"] = (consumer) =>
    store.outside(
      "unregister",
      Effect.flatMap(identOf("unregister", consumer), (ident) =>
        Effect.flatMap(store.unregister(ident), (was): Effect.Effect<void, NotRegistered> => {
          offered.delete(ident)
          return was ? Effect.void : Effect.fail(new NotRegistered({ consumer: ident }))
        }))
    )

  const stream: Service["stream"] = (consumer, options) =>
    Stream.unwrapScoped(Effect.gen(function*() {
      const ident = yield* identOf("stream", consumer)
      const limit = Math.min(mostRows, yield* checkLimit(options?.limit))
      const selection = yield* select(options?.want, options?.catalog)
      if (options?.register !== undefined) yield* register(consumer, options.register)
      const idle = yield* Idle.make(options?.idle)
      yield* store.hints(idle.hint)
      const retry = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>) =>
        Effect.retry(effect, {
          while: (error) => error._tag === "StoreError" && (error as unknown as StoreError).retryable,
          schedule: (options?.retry ?? defaultRetry) as Schedule.Schedule<unknown, unknown>
        })

      let position = 0n
      let found: Look | undefined
      /** How far the last look reaches: up to there pages can be read without another one. */
      const horizon = (look: Look) => selection.types === undefined ? look.head : look.bound ?? 0n
      const lookAgain = Effect.gen(function*() {
        const again = yield* look(ident, position, selection)
        const cursor = yield* registered(ident, again)
        if (found === undefined) yield* notAhead(ident, cursor, again)
        // somebody else may have moved the cursor on; this stream never goes back
        if (cursor > position) position = cursor
        return (found = again)
      })
      const next: Effect.Effect<Delivery<any>, PollError> = Effect.gen(function*() {
        while (true) {
          const seen = found !== undefined && position < horizon(found) ? found : yield* lookAgain
          const page = yield* pageOf(seen, position, selection, limit)
          if (page.upTo > position) {
            position = page.upTo
            yield* idle.busy
            return { batch: toBatch(page, selection), ack: retry(store.acknowledge(ident, page.upTo)) }
          }
          if (!store.sequenced || (yield* sequence()) <= seen.head) yield* idle.pause
        }
      })
      const pull = store.outside("stream", retry(next)) as Effect.Effect<Delivery<any>, PollError>
      // one batch is read ahead while the last one is handled
      return Stream.buffer(Stream.repeatEffect(pull), { capacity: 1 })
    }))

  return { register, unregister, poll, stream }
}

const startOf = (from: From): Effect.Effect<Start, InvalidOption> => {
  if (from === "beginning" || from === "end") return Effect.succeed(from)
  if ("after" in from) return Effect.map(EventId.parse("from.after", from.after), (after) => ({ after }))
  const time = from.time instanceof Date ? from.time.getTime() : NaN
  return Number.isFinite(time)
    ? Effect.succeed({ time })
    : Effect.fail(new InvalidOption({ option: "from.time", value: String(from.time), expected: "a valid Date" }))
}

const defaultRetry = Schedule.exponential("50 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered
)
