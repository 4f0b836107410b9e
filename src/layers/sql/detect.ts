/**
 * What a connection is of, before any table is touched.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { InvalidOption, UnsupportedDatabase } from "../../EventStreamError.js"
import * as Names from "./names.js"

/** Where the tables are to be: as the user's options say it. */
export interface Place {
  readonly prefix: string
  readonly schema: string | undefined
}

export type Found =
  & { readonly schema: string; readonly names: Names.Names }
  & (
    | { readonly kind: "postgres" }
    | { readonly kind: "mysql"; readonly flavour: "MariaDB" | "MySQL" }
    | { readonly kind: "sqlite"; readonly busyTimeout: number }
  )

const identifierPattern = /^[A-Za-z_][A-Za-z0-9_$-]{0,62}$/

export const check = (place: Place): Effect.Effect<void, InvalidOption> => {
  const refuse = (option: string, value: string, pattern: RegExp) =>
    Effect.fail(new InvalidOption({ option, value: JSON.stringify(value), expected: `of the form ${pattern.source}` }))
  if (!Names.prefixPattern.test(place.prefix)) return refuse("prefix", place.prefix, Names.prefixPattern)
  if (place.schema !== undefined && !identifierPattern.test(place.schema)) {
    return refuse("schema", place.schema, identifierPattern)
  }
  return Effect.void
}

export const detect = (
  sql: SqlClient.SqlClient,
  conn: Connection,
  { prefix, schema }: Place
): Effect.Effect<Found, SqlError | UnsupportedDatabase> => {
  const unsupported = (found: string, expected: string) => Effect.fail(new UnsupportedDatabase({ found, expected }))
  const one = (text: string) => Effect.map(conn.execute(text, [], undefined), ([row]) => row)
  return sql.onDialectOrElse<
    Effect.Effect<Found, SqlError | UnsupportedDatabase>,
    Effect.Effect<Found, SqlError | UnsupportedDatabase>,
    Effect.Effect<Found, SqlError | UnsupportedDatabase>,
    Effect.Effect<Found, SqlError | UnsupportedDatabase>,
    Effect.Effect<Found, SqlError | UnsupportedDatabase>,
    Effect.Effect<Found, SqlError | UnsupportedDatabase>
  >({
    pg: () =>
      Effect.gen(function*() {
        const row = yield* one("SELECT current_setting('server_version_num') AS version, current_schema() AS schema")
        if (Number(row.version) < 130000) {
          return yield* unsupported(`PostgreSQL ${row.version}`, "PostgreSQL 13 or later")
        }
        const found = schema ?? row.schema ?? "public"
        return { kind: "postgres", schema: found, names: Names.make(found, prefix, Names.doubleQuotes) }
      }),
    mysql: () =>
      Effect.gen(function*() {
        const row = yield* one("SELECT VERSION() AS version, DATABASE() AS db")
        const version: string = row.version
        const flavour = /mariadb/i.test(version) ? "MariaDB" : "MySQL"
        if (!atLeast(version, flavour === "MariaDB" ? [10, 6, 0] : [8, 0, 19])) {
          return yield* unsupported(`${flavour} ${version}`, "MariaDB 10.6 or MySQL 8.0.19 or later")
        }
        const found = schema ?? row.db
        return { kind: "mysql", flavour, schema: found, names: Names.make(found, prefix, Names.backticks) }
      }),
    sqlite: () =>
      Effect.gen(function*() {
        const { version } = yield* one("SELECT sqlite_version() AS version")
        if (!atLeast(version, [3, 35, 0])) return yield* unsupported(`SQLite ${version}`, "SQLite 3.35 or later")
        const row = yield* one("PRAGMA busy_timeout")
        const names = Names.make("main", prefix, Names.doubleQuotes)
        return { kind: "sqlite", busyTimeout: Number(row.timeout), schema: "main", names }
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
