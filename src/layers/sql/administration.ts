/**
 * Consumers as an administrator sees and moves them, erasing, restoring, and the record of all that.
 *
 * Rows are locked in the order gate, lease, consumer, dead letters everywhere. What changes a consumer takes its lease away
 * and raises its epoch: a receiver at work cannot commit on what it knew before.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { AuditRow, ConsumerRow, Erased, Reset, ResetRequest, Restored, Start } from "../../services/EventStore.js"
import { redactedData, redactedMeta } from "../../internal/redacted.js"
import { keyHash } from "../../internal/keyHash.js"
import type { Redaction } from "../../services/HistoryStore.js"
import { aboveAll, archivers, discarded, leaseName } from "./Dialect.js"
import { takeLease } from "./letters.js"
import { leaseColumns, partitionColumns, toPartitions } from "./groups.js"
import type { Names } from "./names.js"
import { dropPartitionLeases } from "./place.js"
import { recorded, recording } from "./recording.js"
import { keyIs, type Transact, type Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

export interface AdministrationStatements {
  readonly consumers: (conn: Connection) => Run<ReadonlyArray<ConsumerRow>>
  readonly reset: (conn: Connection, request: ResetRequest) => Run<Reset>
  readonly remove: (
    conn: Connection,
    request: { readonly ident: string; readonly actor: string; readonly deadLetters: "keep" | "drop" }
  ) => Run<boolean>
  readonly redact: (conn: Connection, which: Redaction, actor: string) => Run<Erased>
  readonly restored: (
    conn: Connection,
    actor: string,
    atLeast: { readonly generation: number; readonly id: bigint }
  ) => Run<Restored>
  readonly audit: (
    conn: Connection,
    options: { readonly ident: string | undefined; readonly before: bigint | undefined; readonly limit: number }
  ) => Run<ReadonlyArray<AuditRow>>
}

/** Ids left out by a new generation: more than a lost hour of writing has given. */
const jump = 1_000_000n

/** `ts` of the first event that is before nobody: of a consumer with partitions, after the smallest of their cursors. */
const oldest = (
  row: Record<string, string | null>,
  partitions: ConsumerRow["partitions"] | undefined
): number | undefined =>
  partitions === undefined
    ? row.waiting_since === null ? undefined : Number(row.waiting_since)
    : partitions.reduce((least, one) => one.cursor < least.cursor ? one : least).waitingSince

export const make = (
  names: Names,
  words: Words,
  transact: Transact,
  inspect: Transact
): AdministrationStatements => {
  const { asText, clock, concat, gate, head, locking, millis, start, text } = words
  const consumer = (ident: string) => `ident = ${text(ident)}`
  const last = <A>(results: ReadonlyArray<A>): A => results[results.length - 1]!

  /** Whether a cursor may be set there. */
  const allowed = (ident: string, to: Start): string => {
    const retained = typeof to === "object" && "after" in to
      ? ` AND ${to.after} >= ${discarded(names)}`
      : ""
    return archivers(ident) ? `${retained} AND ${start(to)} <= last_evt_id` : retained
  }

  return {
    consumers: (conn) =>
      Effect.map(
        inspect(conn, [
          `SELECT c.ident, ${asText("c.last_evt_id")} AS cursor_id, c.paused, ${asText("c.exclusive")} AS exclusive,
       ${millis("c.registered_at")} AS registered_at, ${millis("c.updated_at")} AS moved_at, l.owner,
       ${millis("l.expires")} AS expires, ${asText(head)} AS head, ${millis(clock)} AS now,
       (SELECT ${asText("COUNT(*)")} FROM ${names.deadLetters} d WHERE d.ident = c.ident) AS dead_letters,
       (SELECT ${asText("COUNT(*)")} FROM ${names.deadLetters} d WHERE d.ident = c.ident AND d.parked = 1) AS parked,
       (SELECT ${millis("e.ts")} FROM ${names.log} e WHERE e.id > c.last_evt_id ORDER BY e.id LIMIT 1) AS waiting_since
  FROM ${names.consumers} c
  LEFT JOIN ${names.leases} l ON l.name = ${concat(`'${leaseName("")}'`, "c.ident")} AND l.expires > ${clock}
 ORDER BY c.ident`,
          `SELECT ${partitionColumns(words)},
       (SELECT ${millis("e.ts")} FROM ${names.log} e WHERE e.id > p.last_evt_id ORDER BY e.id LIMIT 1) AS waiting_since
  FROM ${names.partitions} p ORDER BY p.ident, p.part`,
          `SELECT ${leaseColumns(words)} FROM ${names.leases} l WHERE l.name LIKE '%#%'`
        ]),
        ([rows, partitionRows, leaseRows]) => {
          const partitions = new Map<string, Array<ConsumerRow["partitions"][number]>>()
          for (const [i, { consumer, ...partition }] of toPartitions(partitionRows!, leaseRows!).entries()) {
            const since = partitionRows![i].waiting_since
            const all = partitions.get(consumer) ?? []
            all.push({ ...partition, waitingSince: since === null ? undefined : Number(since) })
            partitions.set(consumer, all)
          }
          return rows!.map((row): ConsumerRow => ({
            ident: row.ident,
            partitions: partitions.get(row.ident) ?? [],
            // theirs is what counts, its own is that of a moment ago
            cursor: (partitions.get(row.ident) ?? []).reduce<bigint | undefined>(
              (least, { cursor }) => least === undefined || cursor < least ? cursor : least,
              undefined
            ) ?? BigInt(row.cursor_id),
            head: BigInt(row.head ?? 0),
            now: Number(row.now),
            waitingSince: oldest(row, partitions.get(row.ident)),
            paused: row.paused ?? undefined,
            exclusive: row.exclusive === "1",
            lease: row.owner === null
              ? undefined
              : { owner: row.owner, expiresIn: Math.max(0, Number(row.expires) - Number(row.now)) },
            deadLetters: Number(row.dead_letters),
            parked: Number(row.parked),
            registeredAt: Number(row.registered_at),
            movedAt: Number(row.moved_at)
          }))
        }
      ),

    reset: (conn, { actor, detail, ident, to }) =>
      Effect.map(
        transact(conn, [
          ...gate,
          takeLease(names, words, ident),
          `SELECT ${asText("epoch")} AS epoch FROM ${names.consumers} WHERE ${consumer(ident)}${locking}`,
          recording(names, words, {
            actor,
            action: "reset",
            detail: [text(`{"from":"`), asText("c.last_evt_id"), text(`","to":${detail}}`)]
          }, `c.${consumer(ident)}${allowed(ident, to)}`),
          `UPDATE ${names.consumers} SET last_evt_id = ${start(to)}, epoch = epoch + 1, updated_at = ${clock}
 WHERE ${consumer(ident)}${allowed(ident, to)}`,
          // archivers have none: where they are is not asked for in this table
          ...(archivers(ident) ? [] : [
            `UPDATE ${names.partitions} SET epoch = epoch + 1, updated_at = ${clock}, last_evt_id = (
    SELECT c.last_evt_id FROM ${names.consumers} c WHERE c.${consumer(ident)})
 WHERE ${consumer(ident)}${allowed(ident, to)}`
          ]),
          `SELECT ${asText("c.epoch")} AS epoch, ${asText("c.last_evt_id")} AS cursor_id,
       ${asText("r.discarded_to")} AS discarded_to
  FROM ${names.consumers} c CROSS JOIN ${names.retention} r WHERE c.${consumer(ident)}`
        ]),
        (results): Reset => {
          const before = results[gate.length + 1]![0]
          const after = last(results)[0]
          if (before === undefined || after === undefined) return { _tag: "NotRegistered" }
          if (before.epoch !== after.epoch) return { _tag: "Reset", cursor: BigInt(after.cursor_id) }
          const discardedTo = BigInt(after.discarded_to)
          return typeof to === "object" && "after" in to && to.after < discardedTo
            ? { _tag: "Discarded", discardedTo }
            : { _tag: "Forward", cursor: BigInt(after.cursor_id) }
        }
      ),

    remove: (conn, { actor, deadLetters, ident }) =>
      Effect.map(
        transact(conn, [
          ...gate,
          `DELETE FROM ${names.leases} WHERE name = ${text(leaseName(ident))}`,
          dropPartitionLeases(names, ident),
          `SELECT 1 FROM ${names.consumers} WHERE ${consumer(ident)}${locking}`,
          recording(names, words, {
            actor,
            action: "remove",
            detail: [text(`{"cursor":"`), asText("c.last_evt_id"), text(`","deadLetters":"${deadLetters}"}`)]
          }, `c.${consumer(ident)}`),
          ...leaving(names, words, ident),
          `DELETE FROM ${names.consumers} WHERE ${consumer(ident)}`,
          `DELETE FROM ${names.partitions} WHERE ${consumer(ident)}`,
          ...(deadLetters === "drop" ? [`DELETE FROM ${names.deadLetters} WHERE ${consumer(ident)}`] : [])
        ]),
        (results) => results[gate.length + 2]!.length > 0
      ),

    redact: (conn, which, actor) => {
      const found = "key" in which ? keyIs(words, which.key) : `id IN (${which.ids.join(", ")})`
      // the record must not keep what was erased
      const detail = "key" in which ? { keyHash: keyHash(which.key) } : { ids: which.ids.map(String) }
      return Effect.map(
        transact(conn, [
          `SELECT ${asText("COUNT(*)")} AS n FROM ${names.log} WHERE ${found}`,
          `SELECT ${asText("COUNT(*)")} AS n FROM ${names.deadLetters} WHERE ${found}`,
          recorded(names, words, { actor, action: "redact", detail }),
          `DELETE FROM ${names.deadLetters} WHERE ${found}`,
          `UPDATE ${names.log} SET data = '${redactedData}', meta = '${redactedMeta}', event_key = NULL, dedupe_key = NULL
 WHERE ${found}`
        ]),
        ([log, letters]) => ({ log: Number(log![0].n), deadLetters: Number(letters![0].n) })
      )
    },

    restored: (conn, actor, atLeast) =>
      Effect.map(
        transact(conn, [
          ...(gate.length === 0 ? [] : [`SELECT 1 FROM ${names.head} FOR UPDATE`]),
          `INSERT INTO ${names.generations} (generation, after_id)
SELECT ${
            words.greatest("g.generation", `${atLeast.generation}`)
          } + 1, ${head} FROM (SELECT MAX(generation) AS generation FROM ${names.generations}) g`,
          `UPDATE ${names.meta} SET generation = (SELECT MAX(g.generation) FROM ${names.generations} g)`,
          ...words.leaveOut(atLeast.id, jump),
          recorded(names, words, { actor, action: "restored", detail: {} }),
          `SELECT ${asText("m.generation")} AS generation, ${asText(head)} AS head FROM ${names.meta} m`
        ]),
        (results) => {
          const [row] = last(results)
          return { generation: Number(row.generation), head: BigInt(row.head) }
        }
      ),

    audit: (conn, { before, ident, limit }) =>
      Effect.map(
        inspect(conn, [
          `SELECT ${asText("id")} AS id, ${millis("at")} AS at, actor, action, ident, detail FROM ${names.audit} a
 WHERE a.id < ${before ?? aboveAll}${ident === undefined ? "" : ` AND a.${consumer(ident)}`}
 ORDER BY a.id DESC LIMIT ${limit}`
        ]),
        ([rows]) =>
          rows!.map((row): AuditRow => ({
            id: BigInt(row.id),
            at: Number(row.at),
            actor: row.actor,
            action: row.action,
            ident: row.ident ?? undefined,
            detail: row.detail
          }))
      )
  }
}

/** What an archiver that is unregistered leaves behind: how far it had come. */
export const leaving = (names: Names, { greatest }: Words, ident: string): ReadonlyArray<string> =>
  archivers(ident)
    ? [
      `UPDATE ${names.retention} SET archived_to = ${
        greatest(
          "archived_to",
          `coalesce((SELECT MAX(c.last_evt_id) FROM ${names.consumers} c WHERE c.ident = '${ident}'), 0)`
        )
      }`
    ]
    : []

/** From then on nothing is discarded that is not archived. */
export const joining = (names: Names, ident: string): ReadonlyArray<string> =>
  archivers(ident) ? [`UPDATE ${names.retention} SET archive_required = 1 WHERE archive_required = 0`] : []
