/**
 * The history on SQL, on a client of its own. Its statements never join a transaction that is around their caller: it is
 * another database's, or would hold up that one.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { InvalidOption, SchemaMismatch, StoreError, UnsupportedDatabase } from "../../../EventStreamError.js"
import type { ArchivedEvent, Redaction, Service } from "../../../services/HistoryStore.js"
import * as Database from "../Database.js"
import { check, detect } from "../detect.js"
import { checkSchema, dialectOf } from "../open.js"
import { idempotent } from "../retry.js"
import { storeError } from "../store.js"
import { cut } from "./insert.js"
import * as Migrations from "./migrations.js"
import * as Statements from "./statements.js"

export interface Options {
  readonly sql: SqlClient.SqlClient
  readonly prefix: string
  readonly schema: string | undefined
  readonly migrate: "auto" | "check"
}

/** So many ids are named in one statement. */
const mostIds = 1000

export const make = (
  options: Options
): Effect.Effect<Service, StoreError | UnsupportedDatabase | SchemaMismatch | InvalidOption> =>
  Effect.gen(function*() {
    yield* check(options)
    const sql = options.sql.withoutTransforms()
    const database = yield* Database.make({ sql, reader: undefined })
    const found = yield* database.reserved((conn) => detect(sql, conn, options))
    const { kind, names, schema } = found
    yield* checkSchema(database, kind, Migrations.schema(kind, names, schema), {
      migrate: options.migrate,
      prefix: `${options.prefix}history`,
      expected: Migrations.expected,
      migration: "EventStream.migrate({ history })"
    })
    const statements = Statements.make(dialectOf(found), names)

    const run = <A>(
      operation: string,
      statement: (conn: Connection) => Effect.Effect<A, SqlError>
    ): Effect.Effect<A, StoreError> =>
      Effect.mapError(idempotent(database.reserved(statement)), storeError(`history ${operation}`))

    const pages = (
      options: Parameters<Service["page"]>[0]
    ): Effect.Effect<ReadonlyArray<ArchivedEvent>, StoreError> =>
      Effect.gen(function*() {
        const { limit, upTo } = options
        let { after } = options
        let rows: ReadonlyArray<ArchivedEvent> = []
        while (true) {
          const from = after
          const part = yield* run("page", (conn) =>
            statements.page(conn, {
              ...options,
              after: from,
              upTo: upTo?.generation === from.generation ? upTo.id : undefined,
              limit: limit - rows.length
            }))
          rows = rows.length === 0 ? part.rows : [...rows, ...part.rows]
          if (rows.length >= limit || part.next === undefined) return rows
          if (upTo !== undefined && part.next > upTo.generation) return rows
          after = { generation: part.next, id: 0n }
        }
      })

    const slices = (which: Redaction): ReadonlyArray<Redaction> =>
      "key" in which
        ? [which]
        : Array.from(
          { length: Math.ceil(which.ids.length / mostIds) },
          (_, i) => ({ ids: which.ids.slice(i * mostIds, (i + 1) * mostIds) })
        )

    return {
      claim: (claim) => run("claim", (conn) => statements.claim(conn, claim)),
      last: (generation) => run("last", (conn) => statements.last(conn, generation)),
      append: (events, range) =>
        Effect.map(
          Effect.forEach(cut(events), (events) => run("append", (conn) => statements.append(conn, events, range))),
          (sums) => sums[sums.length - 1]!
        ),
      sums: (range) => run("sums", (conn) => statements.sums(conn, range)),
      bounds: (query) => run("bounds", (conn) => statements.bounds(conn, query)),
      page: pages,
      redact: (which) =>
        Effect.map(
          Effect.forEach(slices(which), (slice) => run("redact", (conn) => statements.redact(conn, slice))),
          (found) => found.reduce((sum, n) => sum + n, 0)
        )
    } satisfies Service
  }).pipe(
    Effect.catchTag("SqlError", (cause) => Effect.fail(storeError("open history")(cause)))
  )
