/** A stream and its history, on any two databases. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Archiver, type EventStream, EventType, type History } from "../../src/index.js"
import type { Source } from "../../src/layers/archive/source.js"
import { make as openStream } from "../../src/layers/EventStream.js"
import type { Service as HistoryStore } from "../../src/services/HistoryStore.js"
import * as Sqlite from "../../src/sqlite.js"
import * as Schema from "effect/Schema"
import type { ClientOptions, TestDatabase } from "./backends.js"

export const Any = EventType.make("ANY", Schema.Unknown)
export const Other = EventType.make("OTHER", Schema.Unknown)

/** Both, and what the archiver stands between. */
export interface Archive extends EventStream.Service {
  readonly archiver: Archiver.Service
  readonly history: History.Service
  readonly historyStore: HistoryStore
  readonly source: Source
}

export interface Places {
  readonly active: TestDatabase
  readonly history: TestDatabase
  readonly prefix: string
  readonly options?: EventStream.Options | undefined
  readonly clients?: { readonly active?: ClientOptions; readonly history?: ClientOptions } | undefined
}

/** Opens both, on clients of their own. */
export const opened = (places: Places): Effect.Effect<Archive, unknown, SqlClient.SqlClient | Scope.Scope> => {
  const options = { migrate: "auto", prefix: places.prefix, ...places.options } as const
  const withReader = places.active.backend === "sqlite" ? Sqlite.options(options) : Effect.succeed(options)
  return Effect.flatMap(
    withReader as Effect.Effect<typeof options>,
    (options) =>
      Effect.map(
        openStream({ ...options, history: { client: places.history.client(places.clients?.history) } }),
        ({ core, ...service }) => ({ ...service, historyStore: core.historyStore, source: core.source }) as Archive
      )
  )
}

export const archiving = <A, E>(
  places: Places,
  f: (service: Archive) => Effect.Effect<A, E, SqlClient.SqlClient | Scope.Scope>
): Promise<A> =>
  Effect.runPromise(
    Effect.scoped(Effect.flatMap(opened(places), f)).pipe(
      Effect.provide(places.active.client(places.clients?.active))
    )
  )

const columns = {
  postgres: (name: string) => name === "ts" ? "floor(extract(epoch FROM ts) * 1000)::text AS ts" : `${name}::text`,
  mysql: (name: string) =>
    name === "ts"
      ? "CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ts) DIV 1000 AS CHAR) AS ts"
      : `CAST(${name} AS CHAR) AS ${name}`,
  sqlite: (name: string) => `CAST(${name} AS TEXT) AS ${name}`
}

/** Rows of a log or a history through the bare driver, with everything as text. */
export const rowsOf = (db: TestDatabase, table: string, generation: "" | "generation" = "") =>
  db.query(
    `SELECT ${
      ["id", "uid", "type", "event_key", "key_hash", "meta", "data", "ts", ...(generation === "" ? [] : [generation])]
        .map(columns[db.backend]).join(", ")
    } FROM ${table} h ORDER BY ${generation === "" ? "" : "h.generation, "}h.id`
  )

/** What the history holds, without generation, is what the log holds. */
export const both = async ({ active, history, prefix }: Places) => ({
  log: await rowsOf(active, `${prefix}log`),
  archived: await rowsOf(history, `${prefix}history`)
})
