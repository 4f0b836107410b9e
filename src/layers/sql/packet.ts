/**
 * Several statements in one round trip, as one transaction that begins with its own isolation level and ends with
 * COMMIT. When one fails the rest is not run; the session is then rolled back before anybody else gets it. (On
 * PostgreSQL its locks are gone already; InnoDB keeps them after a lock wait timeout until the ROLLBACK.)
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Rows } from "./Database.js"

/** The rows of each statement, in order: there is one entry for each. */
export type Results = readonly [Rows, Rows, Rows]

/** The rows of each of `statements`. */
export const packet = (
  conn: Connection,
  begin: ReadonlyArray<string>,
  statements: ReadonlyArray<string>
): Effect.Effect<Results, SqlError> =>
  conn.executeUnprepared([...begin, ...statements, "COMMIT"].join(";\n"), [], undefined).pipe(
    Effect.map((results) => results.slice(begin.length, begin.length + statements.length) as unknown as Results),
    Effect.tapErrorCause(() => Effect.ignore(conn.executeUnprepared("ROLLBACK", [], undefined)))
  )
