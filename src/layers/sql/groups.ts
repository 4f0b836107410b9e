/**
 * The partitions of a consumer and the members of its group. The dialects differ by words only; see `place.ts` for what
 * holds of the rows.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type {
  Claim,
  ClaimRequest,
  GroupRequest,
  GroupView,
  LaidOut,
  LayOut,
  PartitionRow
} from "../../services/EventStore.js"
import type { Rows } from "./Database.js"
import { leaseName, toLeases } from "./Dialect.js"
import { takeLease } from "./letters.js"
import type { Names } from "./names.js"
import { partsOf } from "./place.js"
import { recording } from "./recording.js"
import type { Transact, Words } from "./words.js"

type Run<A> = Effect.Effect<A, SqlError>

export interface GroupStatements {
  readonly layOut: (conn: Connection, request: LayOut) => Run<LaidOut>
  /** The lease of a member: nobody else asks for it. */
  readonly join: (conn: Connection, request: ClaimRequest) => Run<Claim>
  readonly group: (conn: Connection, request: GroupRequest) => Run<GroupView | undefined>
}

/** Rows of partitions, and of the leases of partitions, as `partitionColumns` and `leaseColumns` select them. */
export const toPartitions = (
  partitions: Rows,
  leases: Rows
): ReadonlyArray<PartitionRow & { readonly consumer: string }> => {
  const owners = new Map(
    leases.map((row) => [row.name, { owner: row.owner, expiresIn: Number(row.expires) - Number(row.now) }])
  )
  return partitions.map((row) => {
    const lease = owners.get(`${leaseName(row.ident)}#${row.part}`)
    return {
      consumer: row.ident,
      number: Number(row.part),
      cursor: BigInt(row.cursor_id),
      epoch: BigInt(row.epoch),
      lease: lease !== undefined && lease.owner !== "" ? lease : undefined
    }
  })
}

export const partitionColumns = ({ asText }: Words): string =>
  `p.ident, ${asText("p.part")} AS part, ${asText("p.last_evt_id")} AS cursor_id, ${asText("p.epoch")} AS epoch`

export const leaseColumns = ({ asText, millis, now }: Words): string =>
  `l.name, l.owner, ${millis("l.expires")} AS expires, ${asText(now)} AS now`

export const make = (names: Names, words: Words, transact: Transact, inspect: Transact): GroupStatements => {
  const { asText, clock, greatest, locking, now, text, time } = words
  const is = (ident: string, alias = "") => `${alias}ident = '${ident}'`
  const smallest = (ident: string) => `(SELECT MIN(p.last_evt_id) FROM ${names.partitions} p WHERE ${is(ident, "p.")})`
  const last = <A>(results: ReadonlyArray<A>): A => results[results.length - 1]!
  const ofConsumer = (ident: string) =>
    `SELECT ${asText("c.epoch")} AS epoch, ${asText("c.last_evt_id")} AS cursor_id, c.paused,
       ${asText("c.partitions")} AS partitions
  FROM ${names.consumers} c WHERE ${is(ident, "c.")}`

  return {
    layOut: (conn, { actor, epoch, ident, partitions }) => {
      const first = epoch === undefined ? "" : ` AND epoch = ${epoch} AND partitions = 0`
      const numbers = Array.from({ length: partitions }, (_, i) => `SELECT ${i} AS part`).join(" UNION ALL ")
      return Effect.map(
        transact(conn, [
          ...words.gate,
          // a receiver that lays out gives its own lease back
          ...(epoch === undefined ? [takeLease(names, words, ident)] : []),
          `SELECT 1 FROM ${names.consumers} WHERE ${is(ident)}${locking}`,
          // nobody moves them any more: their minimum is that
          `SELECT part FROM ${names.partitions} WHERE ${is(ident)}${locking}`,
          recording(names, words, {
            actor,
            action: "repartition",
            detail: [
              text(`{"from":`),
              asText("c.partitions"),
              text(`,"to":${partitions},"cursor":"`),
              asText(`coalesce(${smallest(ident)}, c.last_evt_id)`),
              text(`"}`)
            ]
          }, `c.${is(ident)}${first.replaceAll("AND ", "AND c.")}`),
          `UPDATE ${names.consumers} SET last_evt_id = coalesce(${smallest(ident)}, last_evt_id),
       epoch = ${
            greatest(
              "epoch",
              `coalesce((SELECT MAX(p.epoch) FROM ${names.partitions} p WHERE ${is(ident, "p.")}), 0)`
            )
          } + 1,
       partitions = ${partitions}
 WHERE ${is(ident)}${first}`,
          // those of the layout before: see the invariants of place.ts
          `DELETE FROM ${names.partitions}
 WHERE ${is(ident)} AND epoch < (SELECT c.epoch FROM ${names.consumers} c WHERE ${is(ident, "c.")})`,
          ...(partitions === 0 ? [] : [
            `INSERT INTO ${names.partitions} (ident, part, last_evt_id, epoch)
SELECT c.ident, n.part, c.last_evt_id, c.epoch FROM ${names.consumers} c CROSS JOIN (${numbers}) n
 WHERE ${is(ident, "c.")} AND c.partitions = ${partitions}
   AND NOT EXISTS (SELECT 1 FROM ${names.partitions} p WHERE ${is(ident, "p.")})`
          ]),
          ofConsumer(ident)
        ]),
        (results): LaidOut => {
          const [row] = last(results)
          if (row === undefined) return { _tag: "NotRegistered" }
          return Number(row.partitions) === partitions && (epoch === undefined || BigInt(row.epoch) > epoch)
            ? { _tag: "LaidOut", cursor: BigInt(row.cursor_id) }
            : { _tag: "Fenced", partitions: Number(row.partitions) }
        }
      )
    },

    join: (conn, { ident, owner, ttl }) => {
      const { consumer } = partsOf(ident)
      const expires = time(`(${now} + ${ttl})`)
      return Effect.map(
        transact(conn, [
          `INSERT INTO ${names.leases} (name, owner, expires)
SELECT '${leaseName(ident)}', '${owner}', ${expires} FROM ${names.consumers} WHERE ${is(consumer)}
${words.upsert("name")} owner = '${owner}', expires = ${expires}`,
          ofConsumer(consumer)
        ]),
        ([, rows]): Claim => {
          const [row] = rows!
          return row === undefined ? { _tag: "NotRegistered" } : {
            _tag: "Claimed",
            epoch: BigInt(row.epoch),
            cursor: BigInt(row.cursor_id),
            partitions: Number(row.partitions)
          }
        }
      )
    },

    // what is written is fenced; nothing of it is needed, so nobody hears of it when it was refused
    group: (conn, { epoch, ident, passed }) => {
      const name = leaseName(ident)
      const writes = [
        // as it was before this call: the consumer is locked before its partitions
        ...(epoch === undefined ? [] : [
          `UPDATE ${names.consumers} SET last_evt_id = ${smallest(ident)}, updated_at = ${clock}
 WHERE ${is(ident)} AND epoch = ${epoch} AND last_evt_id < ${smallest(ident)}`
        ]),
        ...(passed.length === 0 ? [] : [
          `UPDATE ${names.partitions} SET updated_at = ${clock}, last_evt_id = CASE part ${
            passed.map(({ partition, upTo }) => `WHEN ${partition} THEN ${upTo}`).join(" ")
          } END
 WHERE ${is(ident)} AND (${
            passed.map(({ epoch, partition, upTo }) =>
              `part = ${partition} AND epoch = ${epoch} AND last_evt_id < ${upTo}`
            ).join(" OR ")
          })`
        ])
      ]
      const reads = [
        ofConsumer(ident),
        `SELECT ${partitionColumns(words)} FROM ${names.partitions} p WHERE ${is(ident, "p.")} ORDER BY p.part`,
        `SELECT ${leaseColumns(words)} FROM ${names.leases} l WHERE substr(l.name, 1, ${name.length}) = '${name}'`
      ]
      return Effect.map(
        writes.length === 0 ? inspect(conn, reads) : transact(conn, [...writes, ...reads]),
        (results): GroupView | undefined => {
          const [consumers, partitions, leases] = results.slice(writes.length)
          const [row] = consumers!
          if (row === undefined) return undefined
          const members = leases!.filter((lease) => lease.name.startsWith(`${name}@`))
          const left = (lease: any) => Number(lease.expires) - Number(lease.now)
          return {
            epoch: BigInt(row.epoch),
            cursor: BigInt(row.cursor_id),
            paused: row.paused !== null,
            partitions: toPartitions(partitions!, leases!),
            members: members.filter((lease) => left(lease) > 0).map((lease) => ({
              owner: lease.owner,
              expiresIn: left(lease)
            })),
            dead: toLeases(members.filter((lease) => left(lease) <= 0))
          }
        }
      )
    }
  }
}
