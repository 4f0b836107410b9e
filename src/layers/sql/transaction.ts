/**
 * `Generator.transaction`: a transaction that the user's statements join, with an end that is never guessed.
 *
 * `sql.withTransaction` dies of a failed COMMIT, takes PostgreSQL's answer to the COMMIT of an aborted transaction for
 * success, and on SQLite leaves the connection inside the transaction whose COMMIT failed. Here:
 * - a COMMIT that did not commit is a typed error, and the connection is rolled back before it goes back;
 * - a COMMIT whose answer was lost is looked up: each `emit` leaves a witness that tells later what became of it;
 * - on SQLite the write lock is taken at once (BEGIN IMMEDIATE), outside of the driver's own, freezing wait.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { InvalidOption, TransactionFailed, TransactionLost } from "../../EventStreamError.js"
import { classify } from "../../internal/sqlError.js"
import type { Isolation, Service as EventStore } from "../../services/EventStore.js"
import type { Database } from "./Database.js"
import { detached } from "./Database.js"
import type { Dialect } from "./Dialect.js"
import { whileBusy } from "./retry.js"

/** What a transaction of ours knows of itself. */
export interface State {
  readonly conn: Connection
  /** Of an event that can only vanish with the whole transaction, so one that was not written in a savepoint. */
  witness: { readonly token: string; readonly uid: string } | undefined
  emitted: boolean
  open: boolean
}

export class Current extends Context.Tag("effect-eventstream/CurrentTransaction")<Current, State>() {}

let savepoints = 0

export const make = (
  database: Database,
  dialect: Dialect,
  onCommit: () => void
): EventStore["transaction"] => {
  const acquire = (isolation: Isolation | undefined) =>
    whileBusy(
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Scope.make(), (scope) =>
          restore(Scope.extend(detached(database.sql.reserve), scope)).pipe(
            Effect.tap((conn) => Effect.withTracerEnabled(dialect.begin(conn, isolation), false)),
            Effect.map((conn) => ({ scope, conn })),
            Effect.tapErrorCause((cause) => Scope.close(scope, Exit.failCause(cause)))
          ))
      )
    ).pipe(
      Effect.mapError((cause) =>
        new TransactionFailed({ phase: "begin", outcome: "rolledBack", ...classify(cause), cause })
      )
    )

  const commit = (state: State): Effect.Effect<void, TransactionFailed | TransactionLost> =>
    dialect.commit(state.conn).pipe(
      Effect.catchAll((cause) => Effect.as(commitFailed(state, cause), true)),
      Effect.flatMap((committed) => committed ? Effect.void : Effect.fail(new TransactionLost({ operation: "COMMIT" })))
    )

  const commitFailed = (state: State, cause: SqlError): Effect.Effect<void, TransactionFailed> => {
    const { reason, retryable } = classify(cause)
    const failed = (outcome: "rolledBack" | "unknown", retryable: boolean) =>
      new TransactionFailed({ phase: "commit", outcome, reason, retryable, cause })
    if (reason !== "connection") {
      return Effect.zipRight(Effect.ignore(dialect.rollback(state.conn)), Effect.fail(failed("rolledBack", retryable)))
    }
    if (state.witness === undefined) return Effect.fail(failed("unknown", false))
    const witness = state.witness
    return database.reserved((conn) => dialect.outcome(conn, witness)).pipe(
      Effect.flatMap((outcome) => outcome === "pending" ? Effect.fail("pending" as const) : Effect.succeed(outcome)),
      Effect.retry(lookUp),
      Effect.catchAll(() => Effect.fail(failed("unknown", false))),
      Effect.flatMap((outcome) => outcome === "committed" ? Effect.void : Effect.fail(failed("rolledBack", true)))
    )
  }

  const outermost = <A, E, R>(effect: Effect.Effect<A, E, R>, isolation: Isolation | undefined) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(restore(acquire(isolation)), ({ conn, scope }) => {
        const state: State = { conn, witness: undefined, emitted: false, open: true }
        return restore(
          effect.pipe(
            Effect.provideService(SqlClient.TransactionConnection, [conn, 0] as const),
            Effect.provideService(Current, state)
          )
        ).pipe(
          Effect.exit,
          Effect.flatMap((exit): Effect.Effect<A, E | TransactionFailed | TransactionLost> => {
            state.open = false
            return Exit.isSuccess(exit)
              ? Effect.as(Effect.tap(commit(state), () => state.emitted ? onCommit() : undefined), exit.value)
              : Effect.zipRight(Effect.ignore(dialect.rollback(conn)), exit)
          }),
          Effect.onExit((exit) => Scope.close(scope, exit))
        )
      })
    )

  // a name of its own for each, so that two that run beside each other do not roll each other back
  const nested = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    [conn, depth]: readonly [Connection, number]
  ): Effect.Effect<A, E | TransactionFailed, R> =>
    Effect.uninterruptibleMask((restore) => {
      const name = `evt_${++savepoints}`
      const send = (sql: string) => conn.executeUnprepared(sql, [], undefined)
      const failed = (cause: SqlError) =>
        new TransactionFailed({ phase: "begin", outcome: "rolledBack", ...classify(cause), cause })
      const inner = Effect.provideService(effect, SqlClient.TransactionConnection, [conn, depth + 1] as const)
      return Effect.mapError(send(`SAVEPOINT ${name}`), failed).pipe(
        Effect.zipRight(Effect.exit(restore(inner as Effect.Effect<A, E, R>))),
        Effect.flatMap((exit): Effect.Effect<A, E | TransactionFailed> =>
          Exit.isSuccess(exit)
            ? Effect.as(Effect.mapError(send(`RELEASE SAVEPOINT ${name}`), failed), exit.value)
            : Effect.zipRight(Effect.ignore(send(`ROLLBACK TO SAVEPOINT ${name}`)), exit)
        )
      )
    })

  return <A, E, R>(effect: Effect.Effect<A, E, R>, { isolation }: { readonly isolation: Isolation | undefined }) =>
    Effect.flatMap(
      Effect.option(database.ambient),
      (ambient): Effect.Effect<A, E | TransactionFailed | TransactionLost | InvalidOption, R> => {
        if (Option.isNone(ambient) || ambient.value._tag !== "Own") return outermost(effect, isolation)
        return isolation === undefined
          ? nested(effect, ambient.value.transaction)
          : Effect.fail(
            new InvalidOption({
              option: "isolation",
              value: isolation,
              expected: "left out inside another transaction, which has its isolation already"
            })
          )
      }
    )
}

const lookUp = Schedule.exponential("20 millis").pipe(
  Schedule.union(Schedule.spaced("500 millis")),
  Schedule.upTo("10 seconds")
)
