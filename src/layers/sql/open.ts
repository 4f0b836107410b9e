/**
 * Opens a stream in the database of a client: finds out what it is, where its tables are, and whether they fit.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { InvalidOption, SchemaMismatch, UnsupportedDatabase } from "../../EventStreamError.js"
import * as Database from "./Database.js"
import type { Dialect } from "./Dialect.js"
import * as Migrate from "./migrate.js"
import * as Mysql from "./mysql.js"
import * as Names from "./names.js"
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

/** What the connection is of, before any table is touched. */
const detect = (
  sql: SqlClient.SqlClient,
  conn: Connection,
  options: OpenOptions
): Effect.Effect<
  { readonly dialect: Dialect; readonly names: Names.Names; readonly schema: string },
  SqlError | UnsupportedDatabase
> => {
  const unsupported = (found: string, expected: string) => Effect.fail(new UnsupportedDatabase({ found, expected }))
  const one = (text: string) => Effect.map(conn.execute(text, [], undefined), ([row]) => row)
  return sql.onDialectOrElse({
    pg: () =>
      Effect.gen(function*() {
        const row = yield* one("SELECT current_setting('server_version_num') AS version, current_schema() AS schema")
        if (Number(row.version) < 130000) {
          return yield* unsupported(`PostgreSQL ${row.version}`, "PostgreSQL 13 or later")
        }
        const schema = options.schema ?? row.schema ?? "public"
        const names = Names.make(schema, options.prefix, Names.doubleQuotes)
        return { dialect: Postgres.make(names), names, schema }
      }),
    mysql: () =>
      Effect.gen(function*() {
        const row = yield* one("SELECT VERSION() AS version, DATABASE() AS db")
        const version: string = row.version
        const flavour = /mariadb/i.test(version) ? "MariaDB" : "MySQL"
        if (!atLeast(version, flavour === "MariaDB" ? [10, 6, 0] : [8, 0, 19])) {
          return yield* unsupported(`${flavour} ${version}`, "MariaDB 10.6 or MySQL 8.0.19 or later")
        }
        const schema = options.schema ?? row.db
        const names = Names.make(schema, options.prefix, Names.backticks)
        return { dialect: Mysql.make(names, flavour), names, schema }
      }),
    sqlite: () =>
      Effect.gen(function*() {
        const { version } = yield* one("SELECT sqlite_version() AS version")
        if (!atLeast(version, [3, 35, 0])) return yield* unsupported(`SQLite ${version}`, "SQLite 3.35 or later")
        const row = yield* one("PRAGMA busy_timeout")
        const names = Names.make("main", options.prefix, Names.doubleQuotes)
        return { dialect: Sqlite.make(names, Number(row.timeout)), names, schema: "main" }
      }),
    orElse: () => unsupported("This SqlClient's database", "PostgreSQL, MySQL, MariaDB or SQLite")
  })
}

const atLeast = (version: string, wanted: readonly [number, number, number]): boolean => {
  const found = version.match(/\d+/g)?.map(Number) ?? []
  for (let i = 0; i < 3; i++) {
    if ((found[i] ?? 0) !== wanted[i]) return (found[i] ?? 0) > wanted[i]!
  }
  return true
}

const identifierPattern = /^[A-Za-z_][A-Za-z0-9_$-]{0,62}$/

export const open = (
  options: OpenOptions
): Effect.Effect<Opened, SqlError | UnsupportedDatabase | SchemaMismatch | InvalidOption> =>
  Effect.gen(function*() {
    if (!Names.prefixPattern.test(options.prefix)) {
      return yield* new InvalidOption({
        option: "prefix",
        value: JSON.stringify(options.prefix),
        expected: `of the form ${Names.prefixPattern.source}`
      })
    }
    if (options.schema !== undefined && !identifierPattern.test(options.schema)) {
      return yield* new InvalidOption({
        option: "schema",
        value: JSON.stringify(options.schema),
        expected: `of the form ${identifierPattern.source}`
      })
    }
    const sql = options.sql.withoutTransforms()
    const database = yield* Database.make({ sql, reader: options.reader })
    const { dialect, names, schema } = yield* database.reserved((conn) => detect(sql, conn, options))
    let found = yield* database.reserved((conn) => Migrate.version(conn, names))
    if (options.migrate === "auto" && (found === null || found < Migrate.expected)) {
      yield* database.reserved((conn) => Migrate.run(dialect.name, conn, names, schema))
      found = yield* database.reserved((conn) => Migrate.version(conn, names))
    }
    if (found !== Migrate.expected && found !== Migrate.expected + 1) {
      return yield* new SchemaMismatch({
        prefix: options.prefix,
        found,
        expected: Migrate.expected,
        hint: found !== null && found > Migrate.expected
          ? "Update effect-eventstream."
          : "Run EventStream.migrate with a role that may create tables, or build the layer with { migrate: \"auto\" }."
      })
    }
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
