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

/** A set of tables with a version. */
export interface Schema {
  /** The table that records the steps that were run, qualified. */
  readonly ledger: string
  readonly steps: ReadonlyArray<Step>
  /** Names it in the whole server: runs of the same one wait for each other. */
  readonly lock: string
}

/** The active area of a stream. */
export const stream = (kind: Kind, names: Names, schema: string): Schema => ({
  ledger: names.migrations,
  lock: `evt:${schema}.${names.prefix}`,
  steps: (kind === "postgres" ? PostgresSteps : kind === "mysql" ? MysqlSteps : SqliteSteps).steps(names)
})

/** The schema version that this version of the library writes. It works on the next one, too. */
export const expected = 4

let asked = 0

/** The version that is there; null without tables. */
export const version = (
  conn: Connection,
  { ledger }: Pick<Schema, "ledger">
): Effect.Effect<number | null, SqlError> =>
  // a text of its own each time: @effect/sql-sqlite-node remembers for minutes that a text could not be prepared
  conn.execute(`SELECT max(id) AS id FROM ${ledger} /* ${++asked} */`, [], undefined).pipe(
    Effect.map(([row]) => row.id === null ? null : Number(row.id)),
    Effect.catchIf(isMissingTable, () => Effect.succeed(null))
  )

const isMissingTable = (error: SqlError): boolean =>
  hasCode(error, "42P01") || hasCode(error, "3F000") || hasCode(error, 1146) ||
  /no such table/.test(String((error.cause as Error | undefined)?.message))

export const run = (kind: Kind, conn: Connection, schema: Schema): Effect.Effect<void, SqlError> =>
  kind === "mysql" ? runMysql(conn, schema) : runTransactional(kind, conn, schema)

const text = (conn: Connection, sql: string) => conn.executeUnprepared(sql, [], undefined)

/** MySQL and SQLite know no ADD COLUMN IF NOT EXISTS: the column of a run that was killed is there. */
const statement = (kind: Kind, conn: Connection, sql: string) =>
  Effect.catchIf(
    // what @effect/sql-sqlite-node cannot prepare it fails with here only
    kind === "sqlite" ? conn.execute(sql, [], undefined) : text(conn, sql),
    (error) =>
      hasCode(error, 1060) || /duplicate column name/.test(String((error.cause as Error | undefined)?.message)),
    () => Effect.void
  )

const createLedger = ({ ledger }: Schema) =>
  `CREATE TABLE IF NOT EXISTS ${ledger} (
    id   INTEGER      NOT NULL PRIMARY KEY,
    name VARCHAR(100) NOT NULL
  )`

const record = ({ ledger }: Schema, step: Step) =>
  `INSERT INTO ${ledger} (id, name) VALUES (${step.id}, '${step.name}')`

/** DDL is transactional there: a step and its record are one. */
const runTransactional = (kind: Kind, conn: Connection, schema: Schema) => {
  const begin = kind === "postgres"
    ? [
      "BEGIN ISOLATION LEVEL READ COMMITTED",
      `SELECT pg_advisory_xact_lock(hashtextextended('${schema.lock}', 0))`
    ]
    : ["BEGIN IMMEDIATE"]
  const transaction = <A>(body: Effect.Effect<A, SqlError>) =>
    Effect.forEach(begin, (sql) => text(conn, sql)).pipe(
      Effect.zipRight(body),
      Effect.zipLeft(text(conn, "COMMIT")),
      Effect.tapErrorCause(() => Effect.ignore(text(conn, "ROLLBACK")))
    )
  return Effect.gen(function*() {
    yield* transaction(text(conn, createLedger(schema)))
    for (const step of schema.steps) {
      yield* transaction(Effect.gen(function*() {
        if (((yield* version(conn, schema)) ?? 0) >= step.id) return
        for (const sql of step.statements) yield* statement(kind, conn, sql)
        yield* text(conn, record(schema, step))
      }))
    }
  })
}

const runMysql = (conn: Connection, schema: Schema) => {
  const lock = `MD5('${schema.lock}')`
  return Effect.acquireUseRelease(
    Effect.repeat(text(conn, `SELECT GET_LOCK(${lock}, 10) AS got`), { until: ([row]) => Number(row.got) === 1 }),
    () =>
      Effect.gen(function*() {
        yield* text(conn, createLedger(schema))
        const found = (yield* version(conn, schema)) ?? 0
        for (const step of schema.steps) {
          if (found >= step.id) continue
          for (const sql of step.statements) yield* statement("mysql", conn, sql)
          yield* text(conn, record(schema, step))
        }
      }),
    () => Effect.ignore(text(conn, `SELECT RELEASE_LOCK(${lock})`))
  )
}
