/**
 * Sending the statements of a step, of which the last one reads the consumer's epoch: as a packet of their own, or one by
 * one in the transaction that the connection is in.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Step, Stepped } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"
import { toStepped } from "./Dialect.js"
import { packet } from "./packet.js"

const outcome = (results: ReadonlyArray<Rows>, step: Step): Stepped => toStepped(results[results.length - 1]![0], step)

export const stepAlone = (
  conn: Connection,
  begin: ReadonlyArray<string>,
  texts: ReadonlyArray<string>,
  step: Step
): Effect.Effect<Stepped, SqlError> => Effect.map(packet(conn, begin, texts), (results) => outcome(results, step))

export const stepWithin = (
  conn: Connection,
  texts: ReadonlyArray<string>,
  step: Step
): Effect.Effect<Stepped, SqlError> =>
  Effect.map(
    Effect.forEach(texts, (text) => conn.executeUnprepared(text, [], undefined)),
    (results) => outcome(results, step)
  )
