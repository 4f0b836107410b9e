/**
 * The stream's database as the SQL below sees it: statements on connections that are nobody's transaction, and the
 * answer to "whose transaction is this?".
 *
 * - Statements of ours are sent on a reserved connection itself, which nothing traces, without the caller's transaction and without the
 *   name transforms and row transforms of the user's client.
 * - Interruption takes effect when the statement in flight has been answered, or after 5 seconds. Cancelling it
 *   would go through the pool on PostgreSQL, where a late cancel hits somebody else's statement.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { finishing } from "../../internal/finishing.js"

export type Rows = ReadonlyArray<any>

/** The transaction around the current fiber, as far as the stream is concerned. */
export type Ambient =
  | { readonly _tag: "None" }
  | { readonly _tag: "Own"; readonly transaction: readonly [conn: Connection, depth: number] }
  | { readonly _tag: "Foreign" }

export interface Database {
  readonly sql: SqlClient.SqlClient
  /** Uses a reserved connection, outside of any transaction of the caller. */
  readonly reserved: <A, E>(f: (conn: Connection) => Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>
  /** The same on the connection for reads: a second one where writes would block it (SQLite files). */
  readonly reading: <A, E>(f: (conn: Connection) => Effect.Effect<A, E>) => Effect.Effect<A, E | SqlError>
  readonly ambient: Effect.Effect<Ambient, SqlError>
  /** Whether a client's connections see the stream's tables. */
  readonly owns: (sql: SqlClient.SqlClient) => Effect.Effect<boolean, SqlError>
  /** Asks a connection of the same kind, once for each client, which stream it sees. Set when the schema is known. */
  readonly identify: (probe: (conn: Connection) => Effect.Effect<boolean, SqlError>) => void
}

/** Takes the transaction out of what `effect` sees: its statements get connections of their own. */
export const detached = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(
    effect,
    Context.omit(SqlClient.TransactionConnection) as (context: Context.Context<R>) => Context.Context<R>
  )

const using =
  (acquire: SqlClient.SqlClient["reserve"]) =>
  <A, E>(f: (conn: Connection) => Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
    finishing(detached(Effect.scoped(Effect.flatMap(acquire, f))))

const nobody = Effect.succeed<Ambient>({ _tag: "None" })

/**
 * Which driver a connection object is of, by its shape: only a connection of the stream's own kind may be asked with
 * the stream's SQL; a wrong statement would abort a PostgreSQL transaction.
 */
const kindOf = (conn: Connection): string =>
  "pg" in conn ? "pg" : "loadExtension" in conn ? "sqlite" : "conn" in conn ? "mysql" : "?"

export const make = (options: {
  readonly sql: SqlClient.SqlClient
  readonly reader: SqlClient.SqlClient | undefined
}): Effect.Effect<Database, SqlError> =>
  Effect.gen(function*() {
    const reserved = using(options.sql.reserve)
    const own = yield* reserved(Effect.succeed)
    const prototype = Object.getPrototypeOf(own)
    // one connection class for each PostgreSQL or MySQL client; plain objects (SQLite) are told apart themselves
    const identityOf = (conn: Connection): object =>
      Object.getPrototypeOf(conn) === Object.prototype ? conn : Object.getPrototypeOf(conn)
    const ours = new WeakMap<object, boolean>([[prototype === Object.prototype ? own : prototype, true]])
    let probe: ((conn: Connection) => Effect.Effect<boolean, SqlError>) | undefined
    const isOwn = (conn: Connection): Effect.Effect<boolean, SqlError> => {
      const identity = identityOf(conn)
      const known = ours.get(identity)
      if (known !== undefined) return Effect.succeed(known)
      if (probe === undefined || kindOf(own) === "?" || kindOf(conn) !== kindOf(own)) return Effect.succeed(false)
      return Effect.tap(probe(conn), (own) => {
        ours.set(identity, own)
      })
    }
    return {
      sql: options.sql,
      reserved,
      reading: options.reader === undefined ? reserved : using(options.reader.reserve),
      ambient: Effect.withFiberRuntime<Ambient, SqlError>((fiber) => {
        const found = Context.getOption(fiber.currentContext, SqlClient.TransactionConnection)
        if (Option.isNone(found)) return nobody
        const transaction = found.value
        return Effect.map(isOwn(transaction[0]), (own) => own ? { _tag: "Own", transaction } : { _tag: "Foreign" })
      }),
      owns: (sql) => using(sql.reserve)(isOwn),
      identify: (f) => {
        probe = f
      }
    }
  })
