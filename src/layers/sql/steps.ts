/**
 * Steps of several consumers as one transaction. It takes the locks of their rows at once or fails, so that none of them
 * waits for the lock of another one's; a step that has dead letters is none of them.
 *
 * Consumers come before partitions, as everywhere (see `place.ts`), and nobody else has two of either at a time.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Step, Stepped } from "../../services/EventStore.js"
import { toStepped } from "./Dialect.js"
import type { Names } from "./names.js"
import { partitionIdent, type Place, placeOf } from "./place.js"
import type { Transact, Words } from "./words.js"

export interface StepsStatements {
  readonly steps: (conn: Connection, steps: ReadonlyArray<Step>) => Effect.Effect<ReadonlyArray<Stepped>, SqlError>
}

type Placed = Step & { readonly place: Place }

const or = (conditions: Iterable<string>): string => [...new Set(conditions)].map((is) => `(${is})`).join(" OR ")

export const make = (names: Names, words: Words, transact: Transact): StepsStatements => {
  const { asText, byKey, clock, nowait } = words
  const mine = ({ epoch, place }: Placed) => `${place.is()} AND epoch = ${epoch}`

  /** Of one table: who is fenced is told by what the first statement reads, which stays so until the COMMIT. */
  const move = (table: string, steps: ReadonlyArray<Placed>): ReadonlyArray<string> => {
    if (steps.length === 0) return []
    const part = table === names.partitions ? asText("part") : "NULL"
    return [
      `SELECT ident, ${part} AS part, ${asText("epoch")} AS epoch
  FROM ${table}${byKey} WHERE ${or(steps.map(({ place }) => place.is()))}${nowait}`,
      // the furthest first: that is where the cursor goes
      `UPDATE ${table}${byKey} SET updated_at = ${clock}, last_evt_id = CASE
${steps.map((step) => `WHEN ${mine(step)} THEN ${step.upTo}`).join("\n")} END
 WHERE ${steps.map((step) => `(${mine(step)} AND last_evt_id <= ${step.upTo})`).join(" OR ")}`
    ]
  }

  return {
    steps: (conn, steps) => {
      const placed = steps.map((step) => ({ ...step, place: placeOf(names, step.ident) }))
      const furthest = [...placed].sort((a, b) => a.upTo < b.upTo ? 1 : -1)
      const consumers = furthest.filter(({ place }) => place.partition === undefined)
      const partitions = furthest.filter(({ place }) => place.partition !== undefined)
      const texts = [...move(names.consumers, consumers), ...move(names.partitions, partitions)]
      return Effect.map(transact(conn, texts), (results) => {
        const rows = new Map(
          results.filter((_, i) => i % 2 === 0).flat().map((row) => [
            row.part === null ? row.ident : partitionIdent(row.ident, Number(row.part)),
            row
          ])
        )
        return steps.map((step) => toStepped(rows.get(step.ident), step))
      })
    }
  }
}
