/**
 * What archiving and discarding have to know of the active area. Read without a lock: positions only ever grow.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { redactedMark } from "../../internal/redacted.js"
import type { Generation, Retention } from "../../services/EventStore.js"
import type { Sums } from "../../services/HistoryStore.js"
import type { Names } from "./names.js"
import type { Transact, Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

export interface RetentionStatements {
  readonly generations: (conn: Connection) => Run<ReadonlyArray<Generation>>
  readonly retention: (conn: Connection) => Run<Retention>
  readonly sums: (conn: Connection, from: bigint, to: bigint) => Run<Sums>
}

/** The columns of `Sums`, of rows that have the columns of an event. */
export const sumColumns = ({ asText, bytes }: Words): string => {
  const length = ["type", "coalesce(event_key, '')", "coalesce(meta, '{}')", "data"]
    .map((column) => bytes(column)).join(" + ")
  return `${asText("COUNT(*)")} AS n, ${asText(`coalesce(sum(${length}), 0)`)} AS bytes,
       ${asText("coalesce(sum(key_hash), 0)")} AS hashes,
       ${asText(`COUNT(CASE WHEN ${asText("meta")} LIKE '%${redactedMark}%' THEN 1 END)`)} AS redacted`
}

export const toSums = (row: Record<string, string>): Sums => ({
  count: Number(row.n),
  bytes: BigInt(row.bytes!),
  hashes: BigInt(row.hashes!),
  redacted: Number(row.redacted)
})

export const make = (names: Names, words: Words, inspect: Transact): RetentionStatements => {
  const { asText } = words
  return {
    generations: (conn) =>
      Effect.map(
        inspect(conn, [
          `SELECT ${asText("generation")} AS generation, ${asText("after_id")} AS after_id
  FROM ${names.generations} g ORDER BY g.generation`
        ]),
        ([rows]) => rows!.map((row) => ({ generation: Number(row.generation), after: BigInt(row.after_id) }))
      ),

    retention: (conn) =>
      Effect.map(
        inspect(conn, [
          `SELECT ${asText("archive_required")} AS required, ${asText("archived_to")} AS archived_to,
       ${asText("discarded_to")} AS discarded_to FROM ${names.retention}`
        ]),
        ([rows]) => {
          const [row] = rows!
          return {
            archiveRequired: row.required === "1",
            archivedTo: BigInt(row.archived_to),
            discardedTo: BigInt(row.discarded_to)
          }
        }
      ),

    sums: (conn, from, to) =>
      Effect.map(
        inspect(conn, [`SELECT ${sumColumns(words)} FROM ${names.log} WHERE id >= ${from} AND id <= ${to}`]),
        ([rows]) => toSums(rows![0])
      )
  }
}
