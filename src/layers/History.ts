/**
 * The history on a client of its own.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EventId from "../EventId.js"
import { InvalidOption, type SchemaMismatch, StoreError, type UnsupportedDatabase } from "../EventStreamError.js"
import { eventJson } from "../internal/eventJson.js"
import type { Query, Service } from "../services/History.js"
import * as HistoryService from "../services/History.js"
import type * as Port from "../services/HistoryStore.js"
import * as HistoryStore from "../services/HistoryStore.js"
import { select, within } from "./reader.js"
import { detached } from "./sql/Database.js"
import * as Store from "./sql/history/store.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The client of the history's database. It is built for the history alone, whatever client is in the context. */
  readonly client: Layer.Layer<SqlClient.SqlClient, unknown>
  /** Prefix of the tables `history`, `history_meta` and `history_migrations`, as of a stream. Default `evt_`. */
  readonly prefix?: string | undefined
  /** Schema (PostgreSQL) or database (MySQL) of the tables. Default: the current one of the client's connection. */
  readonly schema?: string | undefined
  /** Whether missing or old tables are an error (`check`, default) or are made (`auto`). */
  readonly migrate?: "auto" | "check" | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type OpenError = StoreError | SchemaMismatch | UnsupportedDatabase | InvalidOption

/**
 * A history, and the port that the archiver writes by.
 *
 * @since 0.1.0
 * @category models
 */
export interface Opened {
  readonly history: Service
  readonly store: Port.Service
}

/**
 * Opens a history for as long as the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Effect.Effect<Opened, OpenError, Scope.Scope> =>
  Effect.gen(function*() {
    const sql = yield* buildClient(options.client)
    const store = yield* Store.make({
      sql,
      prefix: options.prefix ?? "evt_",
      schema: options.schema,
      migrate: options.migrate ?? "check"
    })
    return { store, history: service(store) }
  })

/**
 * Creates or updates the tables of a history. Can be run any number of times, by several processes at once.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate = (options: Omit<Options, "migrate">): Effect.Effect<void, OpenError> =>
  Effect.scoped(Effect.asVoid(make({ ...options, migrate: "auto" })))

/**
 * The Tags `History` and `HistoryStore`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<HistoryService.History | HistoryStore.HistoryStore, OpenError> =>
  Layer.scopedContext(
    Effect.map(make(options), ({ history, store }) =>
      Context.make(HistoryService.History, history).pipe(Context.add(HistoryStore.HistoryStore, store)))
  )

/** Built apart, or the one in the context, of the active area, would take its place. */
const buildClient = (client: Options["client"]) =>
  Effect.flatMap(Effect.scope, (scope) => detached(Layer.buildWithScope(Layer.fresh(client), scope))).pipe(
    Effect.map((context) => Context.get(context, SqlClient.SqlClient)),
    // better-sqlite3 throws when it cannot open a file
    Effect.sandbox,
    Effect.mapError((cause) =>
      new StoreError({ operation: "open history", reason: "connection", retryable: false, cause: Cause.squash(cause) })
    )
  )

const service = (store: Port.Service): Service => {
  const read = <A>(
    query: Query<any, any> | undefined,
    f: (decode: (row: Port.ArchivedEvent) => any) => (row: Port.ArchivedEvent) => A
  ): Stream.Stream<A, InvalidOption | StoreError> =>
    Stream.unwrap(Effect.gen(function*() {
      const { decode, types } = yield* select(query?.want, query?.catalog)
      const checked = yield* check(query ?? {})
      const convert = f(decode)
      const ends = checked.since === undefined && checked.until === undefined ? {} : yield* store.bounds(checked)
      if (ends === undefined) return Stream.empty
      const { first, last } = ends as Partial<Ends>
      const generation = query?.generation
      const start: Port.Position = first === undefined || (generation !== undefined && generation > first.generation)
        ? { generation: generation ?? 0, id: 0n }
        : { generation: first.generation, id: first.id - 1n }
      const most = generation === undefined ? undefined : { generation, id: EventId.max }
      const upTo = last === undefined || (most !== undefined && most.generation < last.generation) ? most : last
      if (upTo !== undefined && start.generation > upTo.generation) return Stream.empty
      return Stream.paginateChunkEffect(start, (after) =>
        Effect.map(store.page({ ...checked, types, after, upTo }), (rows) => {
          const end = rows[rows.length - 1]
          return [
            Chunk.unsafeFromArray(rows.map(convert)),
            rows.length < checked.limit ? Option.none() : Option.some({ generation: end!.generation, id: end!.id })
          ] as const
        }))
    }))

  return {
    last: store.last(),
    query: (query?: Query<any, any>) => read<any>(query, (decode) => decode),
    ndjson: (query) => read(query, () => toLine)
  }
}

interface Ends {
  readonly first: Port.Position
  readonly last: Port.Position
}

const check = (query: Query<any, any>) =>
  Effect.gen(function*() {
    const { generation, key } = query
    const limit = yield* within("page", query.page ?? 1000, 1, 1000)
    if (generation !== undefined && (!Number.isInteger(generation) || generation < 1 || generation > 2_147_483_647)) {
      return yield* invalid("generation", String(generation), "an integer from 1")
    }
    // no text column of PostgreSQL can be asked for it
    if (key !== undefined && (typeof key !== "string" || key.includes("\u0000"))) {
      return yield* invalid("key", JSON.stringify(key), "a text without U+0000")
    }
    return {
      limit,
      key,
      afterId: query.after === undefined ? undefined : yield* EventId.parse("after", query.after),
      upToId: query.upTo === undefined ? undefined : yield* EventId.parse("upTo", query.upTo),
      since: yield* time("since", query.since),
      until: yield* time("until", query.until)
    }
  })

const invalid = (option: string, value: string, expected: string) =>
  Effect.fail(new InvalidOption({ option, value, expected }))

/** What every database can compare with. */
const years = { first: Date.UTC(1000, 0, 1), last: Date.UTC(9999, 11, 31) }

const time = (option: string, value: Date | undefined): Effect.Effect<number | undefined, InvalidOption> => {
  if (value === undefined) return Effect.succeed(undefined)
  const millis = value instanceof Date ? value.getTime() : NaN
  return Number.isFinite(millis) && millis >= years.first && millis <= years.last
    ? Effect.succeed(millis)
    : invalid(option, String(value), "a Date of the years 1000 to 9999")
}

/** By hand: to parse and print again would change numbers, and the order of members. */
const toLine = (event: Port.ArchivedEvent): string => `{"generation":${event.generation},${eventJson(event).slice(1)}\n`
