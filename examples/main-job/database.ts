/** The stream on whatever DATABASE_URL names; without it, in an SQLite file. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { EventStream } from "../../src/index.js"
import * as Mysql from "../../src/mysql.js"
import * as Pg from "../../src/pg.js"
import * as Sqlite from "../../src/sqlite.js"

export type Services = EventStream.Services | SqlClient.SqlClient

const kindOf = (url: string) =>
  /^postgres(ql)?:/.test(url) ? "postgres" : /^(mysql|mariadb):/.test(url) ? "mysql" : "sqlite"

const mysql = (url: string) => Mysql.client(url.replace(/^mariadb:/, "mysql:"))

export const database = (url: string, options: EventStream.Options): Layer.Layer<Services, unknown> => {
  switch (kindOf(url)) {
    case "postgres":
      return Layer.provideMerge(Pg.layer(options), Pg.client(url))
    case "mysql":
      return Layer.provideMerge(Mysql.layer(options), mysql(url))
    case "sqlite":
      return Layer.provideMerge(Sqlite.layer(options), Sqlite.client(url))
  }
}

const tables = [
  "accounts",
  "ledger",
  "queue",
  "log",
  "head",
  "meta",
  "gate",
  "consumers",
  "partitions",
  "leases",
  "dead_letters",
  "generations",
  "retention",
  "audit",
  "migrations"
]

/**
 * A server is left as it was. On a connection of its own, when the stream is closed: a sequencer that still ran would
 * miss its tables. The file of SQLite goes with its folder.
 */
export const cleanUp = (url: string, prefix: string): Effect.Effect<void, unknown> => {
  const kind = kindOf(url)
  if (kind === "sqlite") return Effect.void
  const routines = kind === "postgres"
    ? ["append(json, integer, bigint)", "sequence(integer)", "move(integer, bigint)"].map((f) =>
      `FUNCTION IF EXISTS ${prefix}${f}`
    )
    : ["append", "sequence", "move"].map((p) => `PROCEDURE IF EXISTS ${prefix}${p}`)
  return Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.forEach(
      [...routines, ...tables.map((table) => `TABLE IF EXISTS ${prefix}${table}`)],
      (what) => sql.unsafe(`DROP ${what}`),
      { discard: true }
    )).pipe(Effect.provide<SqlClient.SqlClient, unknown, never>(kind === "postgres" ? Pg.client(url) : mysql(url)))
}
