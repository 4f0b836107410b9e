/**
 * Sending the statements of a step, of which the last one reads the consumer's epoch: as a packet of their own, or one by
 * one in the transaction that the connection is in.
 *
 * Dead letters are copied out of the log. Where an event has left it meanwhile the cursor stays; then each letter is sent
 * as a whole, and the step is taken again. What is killed in between has dead letters before its cursor: they are handled
 * again, as anything that was not acknowledged.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { DeadLetter, Step, Stepped } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"
import { toTaken } from "./Dialect.js"
import { packet } from "./packet.js"

/** The statements of a dialect. */
export interface Statements {
  readonly step: (step: Step) => ReadonlyArray<string>
  readonly keep: (conn: Connection, step: Step, letter: DeadLetter) => Effect.Effect<unknown, SqlError>
}

const taking = (
  conn: Connection,
  { keep }: Statements,
  step: Step,
  take: Effect.Effect<ReadonlyArray<Rows>, SqlError>
): Effect.Effect<Stepped, SqlError> => {
  const taken = Effect.map(take, (results) => toTaken(results[results.length - 1]![0], step))
  return Effect.flatMap(
    taken,
    (outcome): Effect.Effect<Stepped, SqlError> =>
      outcome !== "missing" ? Effect.succeed(outcome) : Effect.zipRight(
        Effect.forEach(step.deadLetters, (letter) => keep(conn, step, letter), { discard: true }),
        Effect.map(taken, (again) => again === "missing" ? "fenced" : again)
      )
  )
}

export const stepAlone = (
  conn: Connection,
  begin: ReadonlyArray<string>,
  statements: Statements,
  step: Step
): Effect.Effect<Stepped, SqlError> => taking(conn, statements, step, packet(conn, begin, statements.step(step)))

export const stepWithin = (
  conn: Connection,
  statements: Statements,
  step: Step
): Effect.Effect<Stepped, SqlError> =>
  taking(
    conn,
    statements,
    step,
    Effect.forEach(statements.step(step), (text) => conn.executeUnprepared(text, [], undefined))
  )
