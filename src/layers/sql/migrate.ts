/**
 * Brings the tables of a stream up to the version that this library works with.
 *
 * Each step is idempotent and recorded after it ran, so that a run which was killed anywhere is simply run again.
 * Concurrent runs wait for each other: PostgreSQL by an advisory lock that ends with the transaction, MySQL/MariaDB by
 * GET_LOCK on the one connection that migrates, SQLite by its write lock.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { hasCode } from "../../internal/sqlError.js"
import type { Dialect } from "./Dialect.js"
import * as MysqlSteps from "./migrations/mysql.js"
import * as PostgresSteps from "./migrations/postgres.js"
import * as SqliteSteps from "./migrations/sqlite.js"
import type { Names } from "./names.js"

export interface Step {
  readonly id: number
  readonly name: string
  readonly statements: ReadonlyArray<string>
}

type Kind = Dialect["name"]

const stepsOf = (kind: Kind, names: Names): ReadonlyArray<Step> =>
  kind === "postgres"
    ? PostgresSteps.steps(names)
    : kind === "mysql"
    ? MysqlSteps.steps(names)
    : SqliteSteps.steps(names)

/** The schema version that this version of the library writes. It works on the next one, too. */
export const expected = 2

let asked = 0

/** The version that is there; null without tables. */
export const version = (conn: Connection, names: Names): Effect.Effect<number | null, SqlError> =>
  // a text of its own each time: @effect/sql-sqlite-node remembers for minutes that a text could not be prepared
  conn.execute(`SELECT max(id) AS id FROM ${names.migrations} /* ${++asked} */`, [], undefined).pipe(
    Effect.map(([row]) => row.id === null ? null : Number(row.id)),
    Effect.catchIf(isMissingTable, () => Effect.succeed(null))
  )

const isMissingTable = (error: SqlError): boolean =>
  hasCode(error, "42P01") || hasCode(error, "3F000") || hasCode(error, 1146) ||
  /no such table/.test(String((error.cause as Error | undefined)?.message))

export const run = (kind: Kind, conn: Connection, names: Names, schema: string): Effect.Effect<void, SqlError> =>
  kind === "mysql" ? runMysql(conn, names, schema) : runTransactional(kind, conn, names, schema)

const text = (conn: Connection, sql: string) => conn.executeUnprepared(sql, [], undefined)

const ledger = (names: Names) =>
  `CREATE TABLE IF NOT EXISTS ${names.migrations} (
    id   INTEGER      NOT NULL PRIMARY KEY,
    name VARCHAR(100) NOT NULL
  )`

const record = (names: Names, step: Step) =>
  `INSERT INTO ${names.migrations} (id, name) VALUES (${step.id}, '${step.name}')`

/** DDL is transactional there: a step and its record are one. */
const runTransactional = (kind: Kind, conn: Connection, names: Names, schema: string) => {
  const begin = kind === "postgres"
    ? [
      "BEGIN ISOLATION LEVEL READ COMMITTED",
      `SELECT pg_advisory_xact_lock(hashtextextended('evt:${schema}.${names.prefix}', 0))`
    ]
    : ["BEGIN IMMEDIATE"]
  const transaction = <A>(body: Effect.Effect<A, SqlError>) =>
    Effect.forEach(begin, (sql) => text(conn, sql)).pipe(
      Effect.zipRight(body),
      Effect.zipLeft(text(conn, "COMMIT")),
      Effect.tapErrorCause(() => Effect.ignore(text(conn, "ROLLBACK")))
    )
  return Effect.gen(function*() {
    yield* transaction(text(conn, ledger(names)))
    for (const step of stepsOf(kind, names)) {
      yield* transaction(Effect.gen(function*() {
        if (((yield* version(conn, names)) ?? 0) >= step.id) return
        for (const sql of step.statements) yield* text(conn, sql)
        yield* text(conn, record(names, step))
      }))
    }
  })
}

const runMysql = (conn: Connection, names: Names, schema: string) => {
  const lock = `MD5('evt:${schema}.${names.prefix}')`
  return Effect.acquireUseRelease(
    Effect.repeat(text(conn, `SELECT GET_LOCK(${lock}, 10) AS got`), { until: ([row]) => Number(row.got) === 1 }),
    () =>
      Effect.gen(function*() {
        yield* text(conn, ledger(names))
        const found = (yield* version(conn, names)) ?? 0
        for (const step of stepsOf("mysql", names)) {
          if (found >= step.id) continue
          for (const sql of step.statements) yield* text(conn, sql)
          yield* text(conn, record(names, step))
        }
      }),
    () => Effect.ignore(text(conn, `SELECT RELEASE_LOCK(${lock})`))
  )
}
