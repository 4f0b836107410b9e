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
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { InvalidOption, TransactionFailed, TransactionLost } from "../../EventStreamError.js"
import { classify } from "../../internal/sqlError.js"
import type { Isolation, Service as EventStore } from "../../services/EventStore.js"
import type { Ambient, Database } from "./Database.js"
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
  /**
   * A connection inside a transaction, in a scope of its own. Not interruptible: a connection of PostgreSQL's pool that is
   * handed to an interrupted fiber is never given back.
   */
  const acquire = (
    isolation: Isolation | undefined
  ): Effect.Effect<{ readonly conn: Connection; readonly scope: Scope.CloseableScope }, SqlError> =>
    Effect.flatMap(Scope.make(), (scope) =>
      Effect.matchCauseEffect(
        Effect.flatMap(Scope.extend(reserve, scope), (conn) => Effect.as(dialect.begin(conn, isolation), conn)),
        {
          onFailure: (cause) => Effect.zipRight(Scope.close(scope, Exit.void), Effect.failCause(cause)),
          onSuccess: (conn) => Effect.succeed({ conn, scope })
        }
      ))

  const reserve = detached(database.sql.reserve)

  const beginFailed = (cause: SqlError) =>
    Effect.fail(new TransactionFailed({ phase: "begin", outcome: "rolledBack", ...classify(cause), cause }))

  const commit = (state: State): Effect.Effect<void, TransactionFailed | TransactionLost> =>
    Effect.matchEffect(dialect.commit(state.conn), {
      onFailure: (cause) => commitFailed(state, cause),
      onSuccess: (committed): Effect.Effect<void, TransactionLost> => {
        if (!committed) return Effect.fail(new TransactionLost({ operation: "COMMIT" }))
        if (state.emitted) onCommit()
        return Effect.void
      }
    })

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

  const outermost = <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    isolation: Isolation | undefined
  ): Effect.Effect<A, E | TransactionFailed | TransactionLost, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.matchEffect(
        // the first attempt without the machinery of retrying: it is nearly always the only one
        Effect.catchAll(acquire(isolation), (error) =>
          classify(error).reason === "busy"
            ? restore(whileBusy(Effect.uninterruptible(acquire(isolation))))
            : Effect.fail(error)),
        {
          onFailure: beginFailed,
          onSuccess: ({ conn, scope }) => {
            const state: State = { conn, witness: undefined, emitted: false, open: true }
            const inside = Effect.mapInputContext(effect, (context: Context.Context<R>) =>
              context.pipe(
                Context.add(SqlClient.TransactionConnection, [conn, 0] as const),
                Context.add(Current, state)
              ))
            return Effect.flatMap(
              Effect.exit(restore(inside)),
              (exit): Effect.Effect<A, E | TransactionFailed | TransactionLost> => {
                state.open = false
                const end = Exit.isSuccess(exit) ? commit(state) : Effect.ignore(dialect.rollback(conn))
                const ended = Effect.ensuring(end, Scope.close(scope, exit))
                return Effect.zipRight(dialect.sequenced ? ended : Effect.zipRight(ended, breathe), exit)
              }
            )
          }
        }
      )
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
      // a connection that cannot even say whose it is is nobody's to join
      Effect.catchAll(database.ambient, () => Effect.succeed<Ambient>({ _tag: "Foreign" })),
      (ambient): Effect.Effect<A, E | TransactionFailed | TransactionLost | InvalidOption, R> => {
        if (ambient._tag !== "Own") return outermost(effect, isolation)
        return isolation === undefined
          ? nested(effect, ambient.transaction)
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

/** How long fibers may keep a synchronous driver busy before timers and sockets get their turn. */
const longestBreath = 10
let lastBreath = 0
const breathe = Effect.suspend(() => {
  if (performance.now() - lastBreath < longestBreath) return Effect.void
  return Effect.async<void>((resume) => {
    setImmediate(() => {
      lastBreath = performance.now()
      resume(Effect.void)
    })
  })
})

const lookUp = Schedule.exponential("20 millis").pipe(
  Schedule.union(Schedule.spaced("500 millis")),
  Schedule.upTo("10 seconds")
)
