/**
 * Dead letters and pauses: statements that differ between the dialects by a few words only, so they are written once.
 *
 * Rows are locked in the order lease, consumer, letters everywhere. What an administrator does raises the consumer's
 * epoch and takes its lease away: a receiver at work cannot commit on what it knew before, it starts again.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { EventId } from "../../EventId.js"
import { keyHash } from "../../internal/keyHash.js"
import type { Letter, Letters, LettersOf, Settled, Stepped } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"
import { leaseName, toStepped } from "./Dialect.js"
import type { Names } from "./names.js"
import { ofPartition } from "./Dialect.js"
import { placeOf, raisePartitions } from "./place.js"
import { recorded, recording } from "./recording.js"
import { keyIs, type Transact, type Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

export interface LetterStatements {
  readonly pause: (
    conn: Connection,
    pause: {
      readonly ident: string
      readonly why: string
      readonly actor: string
      readonly epoch: bigint | undefined
    }
  ) => Run<Stepped>
  readonly resume: (conn: Connection, ident: string, actor: string) => Run<boolean>
  readonly parkedKeys: (conn: Connection, ident: string) => Run<ReadonlyMap<string, number>>
  readonly letters: (
    conn: Connection,
    which: Letters & { readonly after: bigint; readonly limit: number }
  ) => Run<ReadonlyArray<Letter>>
  readonly redrive: (conn: Connection, which: LettersOf, actor: string) => Run<number>
  readonly drop: (conn: Connection, which: LettersOf, actor: string) => Run<number>
  readonly settle: (conn: Connection, settled: Settled) => Run<Stepped>
  readonly settleWithin: (conn: Connection, settled: Settled) => Run<Stepped>
}

/** Also where there is none: a claim that comes meanwhile waits for this row, and raises the epoch after us. */
export const takeLease = (names: Names, { clock, upsert }: Words, ident: string): string =>
  `INSERT INTO ${names.leases} (name, owner, expires)
SELECT '${leaseName(ident)}', '', ${clock} FROM ${names.consumers} WHERE ident = '${ident}'
${upsert("name")} owner = '', expires = ${clock}`

export const make = (names: Names, words: Words, transact: Transact, inspect: Transact): LetterStatements => {
  const { asText, clock, exact, locking, millis, text } = words
  const read = (conn: Connection, text: string): Run<Rows> => Effect.map(inspect(conn, [text]), ([rows]) => rows!)
  // checked against a pattern: as a plain literal it is compared by the index everywhere
  const consumer = (ident: string) => `ident = '${ident}'`
  const raiseEpoch = (ident: string) => [
    `UPDATE ${names.consumers} SET epoch = epoch + 1 WHERE ${consumer(ident)}`,
    raisePartitions(names, ident)
  ]
  const epochOf = (ident: string) => {
    const place = placeOf(names, ident)
    // of a partition its own row only is locked
    const paused = place.partition === undefined
      ? "paused"
      : `(SELECT c.paused FROM ${names.consumers} c WHERE c.${consumer(place.consumer)}) AS paused`
    return `SELECT ${asText("epoch")} AS epoch, ${paused} FROM ${place.table} WHERE ${place.is()}${locking}`
  }

  /** Also of a consumer that is not registered any more: its dead letters outlive it. Keys may be personal: their hash. */
  const record = (actor: string, action: string, { ident, of }: LettersOf): string => {
    const which = of === "all" ? "all" : "key" in of ? { keyHash: keyHash(of.key) } : { ids: of.ids.map(String) }
    return recorded(names, words, { actor, action, ident, detail: { which } })
  }

  const isKey = (key: string) => keyIs(words, key)

  const among = ({ ident, of }: LettersOf): string =>
    `${consumer(ident)}${
      of === "all" ? "" : "key" in of ? ` AND ${isKey(of.key)}` : ` AND id IN (${of.ids.join(", ")})`
    }`

  /**
   * A parked event with the others of its key: their order is kept. MySQL wants the inner SELECT wrapped, and DISTINCT so
   * that it does not unwrap it again.
   */
  const withItsKey = (which: LettersOf): string =>
    which.of === "all"
      ? among(which)
      : `${consumer(which.ident)} AND ((${among(which)}) OR (parked = 1 AND ${exact("event_key")} IN (
    SELECT k.event_key
      FROM (SELECT DISTINCT ${exact("event_key")} AS event_key FROM ${names.deadLetters}
             WHERE ${among(which)} AND parked = 1) k)))`

  const settling = ({ epoch, failed, id, ident, key }: Settled): ReadonlyArray<string> => {
    const place = placeOf(names, ident)
    const mine = `${consumer(place.consumer)} AND EXISTS (
    SELECT 1 FROM ${place.table} r WHERE ${place.is("r")} AND r.epoch = ${epoch})`
    return [
      `UPDATE ${place.table} SET updated_at = ${clock} WHERE ${place.is()} AND epoch = ${epoch}`,
      ...(failed === undefined
        ? [`DELETE FROM ${names.deadLetters} WHERE id = ${id} AND ${mine}`]
        : [
          `UPDATE ${names.deadLetters} SET redrive = 0, error = ${
            text(failed.error)
          }, attempts = attempts + ${failed.attempts}, failed_at = ${clock} WHERE id = ${id} AND ${mine}`,
          // those that follow it stay where they are
          ...(key === null
            ? []
            : [
              `UPDATE ${names.deadLetters} SET redrive = 0 WHERE parked = 1 AND ${
                isKey(key)
              } AND id > ${id} AND ${mine}`
            ])
        ]),
      epochOf(ident)
    ]
  }
  const settled = (results: ReadonlyArray<Rows>, { epoch }: Settled) =>
    toStepped(results[results.length - 1]![0], { epoch })

  return {
    pause: (conn, { actor, epoch, ident, why }) => {
      const place = placeOf(names, ident)
      const mine = epoch === undefined
        ? ""
        : place.partition === undefined
        ? ` AND epoch = ${epoch}`
        : ` AND EXISTS (SELECT 1 FROM ${place.table} r WHERE ${place.is("r")} AND r.epoch = ${epoch})`
      return Effect.map(
        transact(conn, [
          // a receiver gives its own lease back when it has paused
          ...(epoch === undefined ? [takeLease(names, words, ident)] : []),
          recording(
            names,
            words,
            { actor, action: "pause", detail: [text(JSON.stringify({ why }))] },
            `${consumer(place.consumer)}${mine}`
          ),
          `UPDATE ${names.consumers} SET paused = ${text(why)}, epoch = epoch + 1 WHERE ${
            consumer(place.consumer)
          }${mine}`,
          // one that is fenced out finds it paused by somebody else, or does nothing
          `${raisePartitions(names, place.consumer)}
   AND EXISTS (SELECT 1 FROM ${names.consumers} c WHERE c.${consumer(place.consumer)} AND c.paused IS NOT NULL)`,
          epochOf(ident)
        ]),
        (results): Stepped => {
          const row = results[results.length - 1]![0]
          if (row === undefined) return "unregistered"
          // a claim raises the epoch by one, too, but not of a paused consumer
          return epoch === undefined || (row.paused !== null && BigInt(row.epoch) === epoch + 1n) ? "done" : "fenced"
        }
      )
    },

    resume: (conn, ident, actor) =>
      Effect.map(
        transact(conn, [
          recording(names, words, { actor, action: "resume", detail: [text("{}")] }, `c.${consumer(ident)}`),
          `UPDATE ${names.consumers} SET paused = NULL WHERE ${consumer(ident)}`,
          epochOf(ident)
        ]),
        ([, , rows]) => rows!.length > 0
      ),

    parkedKeys: (conn, ident) =>
      Effect.map(
        read(
          conn,
          `SELECT MIN(event_key) AS event_key, ${asText("COUNT(*)")} AS n FROM ${names.deadLetters}
 WHERE ${consumer(ident)} AND parked = 1 AND event_key IS NOT NULL GROUP BY ${exact("event_key")}`
        ),
        (rows) => new Map(rows.map((row) => [row.event_key, Number(row.n)]))
      ),

    letters: (conn, { after, ident, key, limit, partition, redrive }) =>
      Effect.map(
        read(
          conn,
          `SELECT ${asText("id")} AS id, ${asText("uid")} AS uid, type, event_key, ${asText("key_hash")} AS key_hash,
       ${asText("meta")} AS meta,
       ${asText("data")} AS data, ${millis("ts")} AS ts, error, ${asText("attempts")} AS attempts,
       ${asText("parked")} AS parked, ${asText("redrive")} AS redrive, ${millis("failed_at")} AS failed_at
  FROM ${names.deadLetters} l
 WHERE ${consumer(ident)} AND l.id > ${after}${key === undefined ? "" : ` AND ${isKey(key)}`}${
            redrive === true ? " AND redrive = 1" : ""
          }${ofPartition(partition, "l")}
 ORDER BY l.id LIMIT ${limit}`
        ),
        (rows) =>
          rows.map((row): Letter => ({
            row: {
              id: BigInt(row.id) as EventId,
              uid: row.uid,
              type: row.type,
              key: row.event_key,
              keyHash: Number(row.key_hash),
              meta: row.meta,
              data: row.data,
              ts: Number(row.ts)
            },
            error: row.error,
            attempts: Number(row.attempts),
            parked: row.parked === "1",
            redrive: row.redrive === "1",
            failedAt: Number(row.failed_at)
          }))
      ),

    redrive: (conn, which, actor) =>
      Effect.map(
        transact(conn, [
          takeLease(names, words, which.ident),
          ...raiseEpoch(which.ident),
          record(actor, "redrive", which),
          `UPDATE ${names.deadLetters} SET redrive = 1 WHERE ${withItsKey(which)}`,
          `SELECT ${asText("COUNT(*)")} AS n FROM ${names.deadLetters} WHERE ${consumer(which.ident)} AND redrive = 1`
        ]),
        (results) => Number(results[5]![0].n)
      ),

    drop: (conn, which, actor) =>
      Effect.map(
        transact(conn, [
          takeLease(names, words, which.ident),
          ...raiseEpoch(which.ident),
          record(actor, "drop", which),
          `SELECT ${asText("COUNT(*)")} AS n FROM ${names.deadLetters} WHERE ${among(which)}`,
          `DELETE FROM ${names.deadLetters} WHERE ${among(which)}`
        ]),
        (results) => Number(results[4]![0].n)
      ),

    settle: (conn, of) => Effect.map(transact(conn, settling(of)), (results) => settled(results, of)),

    settleWithin: (conn, of) =>
      Effect.map(
        Effect.forEach(settling(of), (statement) => conn.executeUnprepared(statement, [], undefined)),
        (results) => settled(results, of)
      )
  }
}
