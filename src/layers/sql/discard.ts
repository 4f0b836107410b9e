/**
 * Deleting what everybody has, a batch at a time. The dialects differ by words only.
 *
 * Invariants 6 and 7: an event goes only when every registered consumer has acknowledged it and, where that is asked for,
 * it is archived; ids go on where they were.
 *
 * Why nothing is deleted that somebody has not had: the first statement takes the gate, as registering and unregistering
 * do, so whoever registered before is seen by the statements after it (READ COMMITTED), and whoever registers later finds
 * the log as it is then. Cursors only grow, so they are read without a lock: an old one deletes less. They are read in an
 * UPDATE, not in the DELETE: InnoDB reads the other tables of an UPDATE as a snapshot, but locks those of a DELETE, and
 * acknowledgements would wait.
 *
 * `discarded_to` is moved first and tells the DELETE how far to go; both commit together. What is below it is gone, so a
 * batch begins there and does not walk over the dead rows of the batches before it.
 *
 * Held by test/faults/discarder.test.ts and test/Discarder.test.ts.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { Behind, Discard, Discarded, Remaining } from "../../services/EventStore.js"
import { aboveAll, archiverEnd, discarded, leaseName } from "./Dialect.js"
import type { Names } from "./names.js"
import { recording } from "./recording.js"
import type { Transact, Words } from "./words.js"

export interface DiscardStatements {
  readonly discard: (conn: Connection, discard: Discard) => Effect.Effect<Discarded, SqlError>
  readonly remaining: (conn: Connection, staleAfter: number | undefined) => Effect.Effect<Remaining, SqlError>
}

export const make = (
  names: Names,
  words: Words,
  { counted, inspect, transact }: {
    /** Deletes; one of the statements answers how many rows that is, as text, by the name `deleted`. */
    readonly counted: (from: string, which: string) => ReadonlyArray<string>
    readonly transact: Transact
    readonly inspect: Transact
  }
): DiscardStatements => {
  const { asText, clock, gate, head, least, locking, millis, text, time } = words

  /** An ident ends with its component, and a user has no colon. */
  const isArchiver = (ident: string) =>
    `substr(${ident}, length(${ident}) - ${archiverEnd.length - 1}) = '${archiverEnd}'`
  /** As a SELECT it is computed once, not for each row. */
  const ago = (age: number) => `(SELECT ${time(`(${words.now} - ${age})`)})`

  const archive = ({ requireArchived }: Discard): string => {
    if (requireArchived === "never") return aboveAll
    const required = requireArchived === "always" ? "1 = 1" : "r.archive_required = 1"
    // one that is registered counts as a consumer; LIMIT: MySQL reads the table of its UPDATE only if that is a copy
    return `(SELECT CASE WHEN ${required} AND NOT EXISTS (SELECT 1 FROM ${names.consumers} a WHERE ${
      isArchiver("a.ident")
    }) THEN r.archived_to ELSE ${aboveAll} END FROM (SELECT * FROM ${names.retention} LIMIT 1) r)`
  }

  /** The last id that may go, as far as consumers, the archive and the number of retained events are concerned. */
  const bound = (discard: Discard): string => {
    const consumers = `coalesce((SELECT min(c.last_evt_id) FROM ${names.consumers} c), ${
      discard.retain === undefined ? "0" : aboveAll
    })`
    const newest = discard.retain?.events ?? 0
    return [archive(discard), ...(newest > 0 ? [`${head} - ${newest}`] : [])].reduce(least, consumers)
  }

  /** The last id of this batch; null if there is nothing to delete. */
  const target = (discard: Discard): string => {
    // the limit before the bound: no optimizer looks further than that for events that are not there
    const batch = `SELECT f.id, f.ts
          FROM (SELECT l.id, l.ts FROM ${names.log} l WHERE l.id > ${discard.after} ORDER BY l.id LIMIT ${discard.limit}) f
         WHERE f.id <= ${bound(discard)}`
    if (discard.keepMillis === 0) return `SELECT max(b.id) FROM (${batch}) b`
    // `ts` is not monotonic in id: what comes after a young event stays, too
    return `SELECT CASE WHEN t.young IS NULL THEN t.last
       ELSE (SELECT max(o.id) FROM ${names.log} o WHERE o.id > ${discard.after} AND o.id < t.young) END
  FROM (SELECT max(b.id) AS last, min(CASE WHEN b.ts > ${ago(discard.keepMillis)} THEN b.id END) AS young
          FROM (${batch}) b) t`
  }

  /** A cursor that has stood still for so long although an event of that age waits for it. */
  const stale = (age: number): string =>
    `(NOT ${isArchiver("c.ident")} AND c.updated_at < ${ago(age)} AND EXISTS (
       SELECT 1 FROM ${names.log} w WHERE w.ts < ${ago(age)} AND w.id = (
         SELECT min(f.id) FROM ${names.log} f WHERE f.id > c.last_evt_id)))`

  /**
   * Only if it is as it was seen. The lease before the consumer, as everywhere; the row stays locked, so what is recorded
   * is what is deleted.
   */
  const evict = ({ cursor, ident, since }: Behind): ReadonlyArray<string> => {
    const same = `ident = ${text(ident)} AND last_evt_id = ${cursor} AND ${millis("updated_at")} = '${since}'`
    const detail = JSON.stringify({ cursor: cursor.toString(), since: new Date(since).toISOString() })
    return [
      `DELETE FROM ${names.leases} WHERE name = ${text(leaseName(ident))}
   AND EXISTS (SELECT 1 FROM ${names.consumers} WHERE ${same})`,
      `SELECT ident FROM ${names.consumers} WHERE ${same}${locking}`,
      recording(names, words, { actor: "discarder", action: "evict", detail: [text(detail)] }, same),
      `DELETE FROM ${names.consumers} WHERE ${same}`,
      `DELETE FROM ${names.partitions} WHERE ident = ${text(ident)}
   AND NOT EXISTS (SELECT 1 FROM ${names.consumers} c WHERE c.ident = ${text(ident)})`
    ]
  }

  /** One statement, so one snapshot: a row for each consumer that is furthest behind, and for each stale one. */
  const report = (staleAfter: number | undefined): string => {
    const first = `(SELECT min(l.id) FROM ${names.log} l WHERE l.id > ${discarded(names)})`
    const isStale = staleAfter === undefined ? "1 = 0" : stale(staleAfter)
    return `SELECT ${asText(head)} AS head, ${asText("r.discarded_to")} AS discarded_to,
       ${asText("r.archived_to")} AS archived_to, ${asText("r.archive_required")} AS required,
       ${asText(`(SELECT COUNT(*) FROM ${names.consumers})`)} AS registered,
       ${asText(`(SELECT COUNT(*) FROM ${names.consumers} a WHERE ${isArchiver("a.ident")})`)} AS archivers,
       ${asText("l.id")} AS first_id, ${millis("l.ts")} AS first_ts, ${asText(words.now)} AS now_ms,
       c.ident, ${asText("c.last_evt_id")} AS cursor_id, ${millis("c.updated_at")} AS since,
       CASE WHEN ${isStale} THEN '1' ELSE '0' END AS stale
  FROM ${names.retention} r
  LEFT JOIN ${names.log} l ON l.id = ${first}
  LEFT JOIN ${names.consumers} c
    ON c.last_evt_id = (SELECT min(m.last_evt_id) FROM ${names.consumers} m) OR ${isStale}
 ORDER BY c.ident`
  }

  const toBehind = (row: any): Behind => ({
    ident: row.ident,
    cursor: BigInt(row.cursor_id),
    since: Number(row.since)
  })

  return {
    discard: (conn, discard) =>
      Effect.map(
        transact(conn, [
          ...gate,
          ...discard.evict.flatMap(evict),
          `UPDATE ${names.retention} SET discarded_to = ${
            words.greatest("discarded_to", `coalesce((${target(discard)}), 0)`)
          }`,
          ...counted(names.log, `id > ${discard.after} AND id <= ${discarded(names)}`),
          `UPDATE ${names.retention} SET discarded_at = ${clock} WHERE discarded_to > ${discard.after}`,
          `SELECT ${asText(head)} AS head, ${asText("r.discarded_to")} AS discarded_to FROM ${names.retention} r`
        ]),
        (results): Discarded => {
          const [row] = results[results.length - 1]!
          return {
            deleted: Number(results.find((rows) => rows[0]?.deleted !== undefined)![0].deleted),
            evicted: discard.evict.filter((_, i) => results[gate.length + 1 + 5 * i]!.length > 0).map(({ ident }) =>
              ident
            ),
            head: BigInt(row.head),
            discardedTo: BigInt(row.discarded_to)
          }
        }
      ),

    remaining: (conn, staleAfter) =>
      Effect.map(inspect(conn, [report(staleAfter)]), ([rows]): Remaining => {
        const [row] = rows!
        const behind = rows!.filter(({ ident }) => ident !== null)
        const least = behind.reduce<bigint | undefined>(
          (least, { cursor_id }) => least === undefined || BigInt(cursor_id) < least ? BigInt(cursor_id) : least,
          undefined
        )
        return {
          head: BigInt(row.head),
          discardedTo: BigInt(row.discarded_to),
          archiveRequired: row.required === "1",
          archivedTo: BigInt(row.archived_to),
          archiverRegistered: row.archivers !== "0",
          registered: Number(row.registered),
          first: row.first_id === null ? undefined : { id: BigInt(row.first_id), ts: Number(row.first_ts) },
          now: Number(row.now_ms),
          furthestBehind: behind.filter(({ cursor_id }) => BigInt(cursor_id) === least).map(toBehind),
          stale: behind.filter(({ stale }) => stale === "1").map(toBehind)
        }
      })
  }
}
