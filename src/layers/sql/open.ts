/**
 * Opens a stream in the database of a client: finds out what it is, where its tables are, and whether they fit.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { type InvalidOption, SchemaMismatch, type UnsupportedDatabase } from "../../EventStreamError.js"
import * as Database from "./Database.js"
import { check, detect, type Found } from "./detect.js"
import type { Dialect } from "./Dialect.js"
import * as Migrate from "./migrate.js"
import * as Mysql from "./mysql.js"
import type * as Names from "./names.js"
import * as Postgres from "./postgres.js"
import * as Sqlite from "./sqlite.js"

export interface OpenOptions {
  readonly sql: SqlClient.SqlClient
  readonly reader: SqlClient.SqlClient | undefined
  readonly prefix: string
  readonly schema: string | undefined
  readonly migrate: "auto" | "check"
}

export interface Opened {
  readonly database: Database.Database
  readonly dialect: Dialect
  readonly names: Names.Names
  /** UUID of the stream. */
  readonly stream: string
}

export const dialectOf = (found: Found): Mysql.MysqlDialect | Postgres.PostgresDialect | Sqlite.SqliteDialect => {
  switch (found.kind) {
    case "postgres":
      return Postgres.make(found.names)
    case "mysql":
      return Mysql.make(found.names, found.flavour)
    case "sqlite":
      return Sqlite.make(found.names, found.busyTimeout)
  }
}

/** Brings tables up to date where that is wanted; fails where they do not fit. */
export const checkSchema = (
  database: Database.Database,
  kind: Dialect["name"],
  schema: Migrate.Schema,
  options: Pick<OpenOptions, "migrate" | "prefix"> & { readonly expected: number; readonly migration?: string }
): Effect.Effect<void, SqlError | SchemaMismatch> =>
  Effect.gen(function*() {
    const { expected } = options
    let found = yield* database.reserved((conn) => Migrate.version(conn, schema))
    if (options.migrate === "auto" && (found === null || found < expected)) {
      yield* database.reserved((conn) => Migrate.run(kind, conn, schema))
      found = yield* database.reserved((conn) => Migrate.version(conn, schema))
    }
    if (found === expected || found === expected + 1) return
    return yield* new SchemaMismatch({
      prefix: options.prefix,
      found,
      expected,
      hint: found !== null && found > expected
        ? "Update effect-eventstream."
        : `Run ${
          options.migration ?? "EventStream.migrate"
        } with a role that may create tables, or build the layer with { migrate: "auto" }.`
    })
  })

export const open = (
  options: OpenOptions
): Effect.Effect<Opened, SqlError | UnsupportedDatabase | SchemaMismatch | InvalidOption> =>
  Effect.gen(function*() {
    yield* check(options)
    const sql = options.sql.withoutTransforms()
    const database = yield* Database.make({ sql, reader: options.reader })
    const found = yield* database.reserved((conn) => detect(sql, conn, options))
    const { names } = found
    const dialect = dialectOf(found)
    yield* checkSchema(database, found.kind, Migrate.stream(found.kind, names, found.schema), {
      ...options,
      expected: Migrate.expected
    })
    const readStream = (conn: Connection) =>
      Effect.map(conn.execute(`SELECT stream FROM ${names.meta}`, [], undefined), ([row]) => String(row?.stream))
    const stream = yield* database.reserved(readStream)
    database.identify((conn) =>
      Effect.flatMap(
        seesTable(dialect, conn, names),
        (sees) => sees ? Effect.map(readStream(conn), (other) => other === stream) : Effect.succeed(false)
      )
    )
    return { database, dialect, names, stream }
  })

/** Whether a foreign connection has our table at all: to ask for a missing one would abort a PostgreSQL transaction. */
const seesTable = (dialect: Dialect, conn: Connection, names: Names.Names): Effect.Effect<boolean, SqlError> => {
  if (dialect.name === "postgres") {
    return Effect.map(
      conn.execute("SELECT to_regclass($1) IS NOT NULL AS sees", [names.meta], undefined),
      ([row]) => row.sees === true
    )
  }
  return conn.execute(`SELECT 1 FROM ${names.meta}`, [], undefined).pipe(
    Effect.as(true),
    Effect.catchAll(() => Effect.succeed(false))
  )
}
