/**
 * The statements on PostgreSQL (>= 13). What must be one transaction is one simple-query packet, which a pooler in
 * transaction mode passes on as a whole; the routines are in `migrations/postgres.ts`.
 */
import * as Effect from "effect/Effect"
import type { EventId } from "../../EventId.js"
import type { Isolation, Start, Step } from "../../services/EventStore.js"
import type { Dialect } from "./Dialect.js"
import * as Administration from "./administration.js"
import { joining, leaving } from "./administration.js"
import {
  alike,
  among,
  discarded,
  leaseName,
  letterColumns,
  ofPartition,
  toClaim,
  toDocument,
  toIdsByKey,
  toLeases,
  toLook,
  toParams,
  toRegistered,
  toStored,
  toValues,
  unlessDiscarded
} from "./Dialect.js"
import * as Discard from "./discard.js"
import * as Groups from "./groups.js"
import * as Letters from "./letters.js"
import type { Names } from "./names.js"
import { claimable, placeOf } from "./place.js"
import { packet } from "./packet.js"
import * as Retention from "./retention.js"
import * as Settings from "./settings.js"
import * as Steps from "./steps.js"
import { type Statements, stepAlone, stepWithin } from "./step.js"
import * as Vitals from "./vitals.js"
import type { Transact, Words } from "./words.js"

/** Independent of standard_conforming_strings: with a backslash in it the literal says so itself. */
const quote = (text: string): string => {
  const doubled = text.replaceAll("'", "''")
  return doubled.includes("\\") ? `E'${doubled.replaceAll("\\", "\\\\")}'` : `'${doubled}'`
}

const writing = ["BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"]
const reading = ["BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"]

/**
 * A page is read along the primary key. Without statistics the planner would rather sort the whole window for each
 * (11 ms instead of 1 on 10 000 rows); with the alternatives switched off their nominal cost would wake the JIT.
 */
const inOrder = ["SET LOCAL enable_sort = off", "SET LOCAL enable_bitmapscan = off", "SET LOCAL jit = off"]
const readingInOrder = [...reading, ...inOrder]
/** So is a batch deleted: never by looking through the whole table. */
const deletingInOrder = [...writing, ...inOrder, "SET LOCAL enable_seqscan = off"]

export interface PostgresDialect extends Dialect {
  readonly name: "postgres"
}

export const make = (names: Names): PostgresDialect => {
  const columns = "uid, type, event_key, key_hash, meta, dedupe_key, data"
  const insertOne = `INSERT INTO ${names.queue} (${columns}) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING xid::text`
  const insertMany = `WITH inserted AS (
    INSERT INTO ${names.queue} (${columns})
    SELECT e.u, e.t, e.k, e.h, e.m::json, e.p, e.d::json
      FROM json_to_recordset($1::json) AS e(n integer, u uuid, t text, k text, h bigint, m text, p text, d text)
     ORDER BY e.n
    RETURNING xid)
  SELECT min(xid::text) AS xid FROM inserted`

  const words: Words = {
    text: quote,
    asText: (expression) => `${expression}::text`,
    bytes: (column) => `octet_length(${column}::text)`,
    millis: (column) => `floor(extract(epoch FROM ${column}) * 1000)::text`,
    time: (millis) => `to_timestamp(${millis} / 1000.0)`,
    clock: "clock_timestamp()",
    concat: (...texts) => texts.join(" || "),
    greatest: (a, b) => `greatest(${a}, ${b})`,
    locking: " FOR UPDATE",
    nowait: " FOR UPDATE NOWAIT",
    byKey: "",
    gate: [`SELECT 1 FROM ${names.gate} FOR UPDATE`],
    head: `(SELECT h.last_id FROM ${names.head} h)`,
    leaveOut: (atLeast, jump) => [
      `UPDATE ${names.head} SET last_id = greatest(last_id, ${atLeast}) + ${jump}`
    ],
    start: (from) => start(names, from),
    exact: (expression) => expression,
    upsert: (key) => `ON CONFLICT (${key}) DO UPDATE SET`,
    now: "floor(extract(epoch FROM clock_timestamp()) * 1000)",
    least: (a, b) => `least(${a}, ${b})`
  }
  const statements = stepping(names)
  /** Nobody but receivers with a lease may move its cursor. */
  const exclusive = "(CASE WHEN c.exclusive = 1 OR c.partitions > 0 THEN 1 ELSE 0 END)"

  const transact: Transact = (conn, texts) => packet(conn, writing, texts)
  const inspect: Transact = (conn, texts) => packet(conn, reading, texts)

  return {
    ...Letters.make(names, words, transact, inspect),
    ...Administration.make(names, words, transact, inspect),
    ...Retention.make(names, words, inspect),
    ...Groups.make(names, words, transact, inspect),
    ...Steps.make(names, words, transact),
    ...Discard.make(names, words, {
      // first: RETURNING would fetch each row again
      counted: (
        from,
        which
      ) => [`SELECT count(*)::text AS deleted FROM ${from} WHERE ${which}`, `DELETE FROM ${from} WHERE ${which}`],
      transact: (conn, texts) => packet(conn, deletingInOrder, texts),
      inspect
    }),
    ...Vitals.make(names, words, inspect, Settings.postgres(names.of("queue_raw_id_seq"), quote)),
    name: "postgres",
    sequenced: true,
    words,
    transact,
    inspect: (conn, texts) => packet(conn, readingInOrder, texts),

    begin: (conn, isolation) =>
      Effect.asVoid(
        conn.executeUnprepared(
          isolation === undefined ? "BEGIN" : `BEGIN ISOLATION LEVEL ${level(isolation)}`,
          [],
          undefined
        )
      ),

    // COMMIT of an aborted transaction is no error: its command tag says ROLLBACK
    commit: (conn) =>
      Effect.map(conn.executeRaw("COMMIT", []), (r) => (r as { command: string }).command !== "ROLLBACK"),

    rollback: (conn) => Effect.asVoid(conn.executeUnprepared("ROLLBACK", [], undefined)),

    emit: (conn, events) =>
      Effect.map(
        events.length === 1
          ? conn.execute(insertOne, toParams(events[0]!), undefined)
          : conn.execute(insertMany, [toDocument(events)], undefined),
        (rows) => ({ stored: true, token: rows[0].xid as string })
      ),

    statement: (events) => ({
      sql: `INSERT INTO ${names.queue} (${columns}) VALUES ${
        events.map((_, i) => `(${[1, 2, 3, 4, 5, 6, 7].map((p) => `$${i * 7 + p}`).join(", ")})`).join(", ")
      }`,
      params: events.flatMap(toParams)
    }),

    outcome: (conn, witness) =>
      Effect.map(
        conn.execute("SELECT pg_xact_status($1::text::xid8) AS status", [witness.token], undefined),
        ([row]) => row.status === "committed" ? "committed" : row.status === "aborted" ? "rolledBack" : "pending"
      ),

    sequence: (conn, limit) =>
      Effect.map(
        packet(conn, writing, [
          `SELECT ${names.sequence}(${limit}) AS taken`,
          `SELECT last_id::text AS head FROM ${names.head}`
        ]),
        ([[{ taken }], [{ head }]]) => ({ taken: Number(taken), head: BigInt(head) })
      ),

    append: (conn, events, { deadline, limit }) =>
      Effect.map(
        packet(conn, writing, [
          `SELECT ord, id::text FROM ${names.append}(${quote(toDocument(events))}::json, ${limit}, ${deadline})`
        ]),
        ([rows]) => rows.map((row) => row.id === null ? null : BigInt(row.id) as EventId)
      ),

    find: (conn, uids, { locked, since }) => {
      const list = uids.map(quote).join(", ")
      return Effect.map(
        packet(conn, writing, [
          locked ? `SELECT 1 FROM ${names.head} FOR UPDATE` : "SELECT 1",
          `SELECT uid::text, NULL AS id FROM ${names.queue} WHERE uid IN (${list})`,
          `SELECT uid::text, id::text FROM ${names.log} WHERE id > ${since} AND uid IN (${list})`
        ]),
        ([, queued, logged]) =>
          new Map([...queued, ...logged].map((row) => [row.uid, row.id === null ? null : BigInt(row.id) as EventId]))
      )
    },

    findByDedupeKey: (conn, keys) =>
      Effect.map(
        conn.execute(
          `SELECT dedupe_key, id::text FROM ${names.log} WHERE dedupe_key = ANY($1::text[])`,
          [keys],
          undefined
        ),
        toIdsByKey
      ),

    now: (conn) =>
      Effect.map(
        conn.execute("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::text AS now", [], undefined),
        ([row]) => Number(row.now)
      ),

    // LIMIT 1: tables without statistics are planned as large, and their join would be compiled by JIT at each call
    look: (conn, { after, ident, window }) =>
      Effect.map(
        packet(conn, reading, [
          `SELECT m.generation::text, h.last_id::text AS head, c.last_evt_id::text AS cursor_id, c.paused,
       ${exclusive}::text AS exclusive, ${window === 0 ? "NULL" : bound(names, after, window)} AS bound
  FROM (SELECT * FROM ${names.meta} LIMIT 1) m
 CROSS JOIN (SELECT * FROM ${names.head} LIMIT 1) h
  LEFT JOIN ${names.consumers} c ON c.ident = ${ident === undefined ? "NULL" : quote(ident)}`
        ]),
        ([[row]]) => toLook(row)
      ),

    // ORDER BY names the column, not the text of the same name in the list
    page: (conn, { after, limit, partition, types, upTo }) =>
      Effect.map(
        packet(conn, readingInOrder, [
          `SELECT id::text, uid::text, type, event_key, key_hash::text, meta::text, data::text,
       floor(extract(epoch FROM ts) * 1000)::text AS ts
  FROM ${names.log} l
 WHERE l.id > ${after}${upTo === undefined ? "" : ` AND l.id <= ${upTo}`}${
            types === undefined ? "" : ` AND l.type IN (${types.map(quote).join(", ")})`
          }${ofPartition(partition, "l")}
 ORDER BY l.id
 LIMIT ${limit}`
        ]),
        ([rows]) => rows.map(toStored)
      ),

    changes: undefined,

    register: (conn, { exclusive, from, ident }) =>
      Effect.map(
        packet(conn, writing, [
          `SELECT 1 FROM ${names.gate} FOR UPDATE`,
          // epochs begin at the clock: one of before an earlier end of this registration fits no more
          `INSERT INTO ${names.consumers} (ident, last_evt_id, exclusive, epoch)
SELECT ${quote(ident)}, ${start(names, from)}, ${Number(exclusive)}, ${words.now}${unlessDiscarded(names, from)}
    ON CONFLICT (ident) DO NOTHING`,
          `SELECT c.last_evt_id::text AS cursor_id, r.discarded_to::text
  FROM ${names.retention} r LEFT JOIN ${names.consumers} c ON c.ident = ${quote(ident)}`,
          ...joining(names, ident)
        ]),
        ([, , [row]]) => toRegistered(row)
      ),

    unregister: (conn, ident) =>
      Effect.map(
        packet(
          conn,
          writing,
          [
            `SELECT 1 FROM ${names.gate} FOR UPDATE`,
            `DELETE FROM ${names.consumers} WHERE ident = ${quote(ident)} RETURNING 1`,
            `DELETE FROM ${names.partitions} WHERE ident = ${quote(ident)}`
          ].toSpliced(1, 0, ...leaving(names, words, ident))
        ),
        (results) => results[results.length - 2]!.length > 0
      ),

    acknowledge: (conn, ident, upTo) =>
      Effect.asVoid(
        packet(conn, writing, [
          `UPDATE ${names.consumers} SET last_evt_id = ${upTo}, updated_at = clock_timestamp()
 WHERE ident = ${quote(ident)} AND last_evt_id < ${upTo} AND exclusive = 0 AND partitions = 0`
        ])
      ),

    claim: (conn, { force, ident, owner, ttl }) => {
      const place = placeOf(names, ident)
      return Effect.map(
        packet(conn, writing, [
          `INSERT INTO ${names.leases} AS l (name, owner, expires)
SELECT ${quote(leaseName(ident))}, ${quote(owner)}, clock_timestamp() + ${interval(ttl)}
  FROM ${place.from} WHERE ${place.is("r")} AND ${claimable(place)}
    ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, expires = EXCLUDED.expires
 WHERE ${force} OR l.owner = EXCLUDED.owner OR l.expires <= clock_timestamp()`,
          `UPDATE ${place.table} SET epoch = epoch + 1 WHERE ${place.is()}
   AND EXISTS (SELECT 1 FROM ${names.leases} l WHERE l.name = ${quote(leaseName(ident))} AND l.owner = ${
            quote(owner)
          })`,
          `SELECT r.epoch::text, r.last_evt_id::text AS cursor_id, c.paused, c.partitions::text, l.owner,
       ceil(extract(epoch FROM l.expires - clock_timestamp()) * 1000)::text AS expires_in
  FROM ${place.from} LEFT JOIN ${names.leases} l ON l.name = ${quote(leaseName(ident))}
 WHERE ${place.is("r")}`
        ]),
        ([, , [row]]) => toClaim(row, owner, place)
      )
    },

    renew: (conn, leases, ttl) =>
      Effect.map(
        packet(conn, writing, [
          `UPDATE ${names.leases} SET expires = clock_timestamp() + ${interval(ttl)} WHERE ${among(leases)}
RETURNING name, owner`
        ]),
        ([rows]) => toLeases(rows)
      ),

    release: (conn, leases) =>
      Effect.asVoid(packet(conn, writing, [`DELETE FROM ${names.leases} WHERE ${among(leases)}`])),

    step: (conn, step) => stepAlone(conn, writing, statements, step),

    stepWithin: (conn, step) => stepWithin(conn, statements, step)
  }
}

const interval = (ms: number): string => `interval '${ms} milliseconds'`

/**
 * The consumer first: its row is locked from then on, and with it the right to write dead letters. Its cursor moves when
 * they are all there. The last one reads the epoch.
 */
const stepping = (names: Names): Statements => {
  const placed = ({ ident }: Step) => placeOf(names, ident)
  const mine = (step: Step, alias?: string) =>
    `${placed(step).is(alias)} AND ${alias === undefined ? "" : `${alias}.`}epoch = ${step.epoch}`
  const move = (step: Step) =>
    `UPDATE ${placed(step).table} SET last_evt_id = ${step.upTo}, updated_at = clock_timestamp()
 WHERE ${mine(step)} AND last_evt_id <= ${step.upTo}`
  const place = (step: Step) =>
    `SELECT epoch::text, last_evt_id::text AS cursor_id FROM ${placed(step).table} WHERE ${
      placed(step).is()
    } FOR UPDATE`
  const known = (parked: boolean) => `ON CONFLICT (ident, id) DO ${parked ? "UPDATE SET parked = 1" : "NOTHING"}`
  return {
    step: (step) => {
      const { deadLetters } = step
      const { consumer, table } = placed(step)
      if (deadLetters.length === 0) return [move(step), place(step)]
      const ids = deadLetters.map(({ row }) => row.id).join(", ")
      return [
        `UPDATE ${table} SET updated_at = clock_timestamp() WHERE ${mine(step)}`,
        ...alike(deadLetters).map(({ attempts, error, ids, parked }) =>
          `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, l.id, l.uid, l.type, l.event_key, l.key_hash, l.meta, l.data, l.ts, ${quote(error)}, ${attempts}, ${
            Number(parked)
          }
  FROM ${names.log} l JOIN ${table} c ON ${mine(step, "c")}
 WHERE l.id IN (${ids.join(", ")}) ${known(parked)}`
        ),
        `${move(step)}
   AND (SELECT COUNT(*) FROM ${names.deadLetters} d WHERE d.ident = ${
          quote(consumer)
        } AND d.id IN (${ids})) = ${deadLetters.length}`,
        place(step)
      ]
    },
    keep: (conn, step, letter) =>
      conn.execute(
        `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, $1::bigint, $2::uuid, $3::text, $4::text, $5::bigint, $6::text::json, $7::text::json,
       timestamptz 'epoch' + $8::bigint * interval '1 millisecond', $9::text, $10::integer, $11::smallint
  FROM ${placed(step).table} c WHERE ${mine(step, "c")} ${known(letter.parked)}`,
        toValues(letter).map((value) => typeof value === "bigint" ? value.toString() : value),
        undefined
      )
  }
}

const level = (isolation: Isolation): string => isolation.toUpperCase()

/** The last id of the first `window` rows after the position; all that are there if fewer. */
const bound = (names: Names, after: bigint, window: number): string => {
  const position = `greatest(coalesce(c.last_evt_id, 0), ${after})`
  return `coalesce(
       (SELECT l.id FROM ${names.log} l WHERE l.id > ${position} ORDER BY l.id OFFSET ${window - 1} LIMIT 1),
       (SELECT max(l.id) FROM ${names.log} l WHERE l.id > ${position}))::text`
}

/** The cursor that a registration starts with. */
const start = (names: Names, from: Start): string => {
  const head = `(SELECT h.last_id FROM ${names.head} h)`
  if (from === "beginning") {
    return `coalesce((SELECT min(l.id) - 1 FROM ${names.log} l WHERE l.id > ${discarded(names)}), ${head})`
  }
  if (from === "end") return head
  return "after" in from
    ? `${from.after}`
    : `coalesce((SELECT min(l.id) - 1 FROM ${names.log} l WHERE l.ts >= to_timestamp(${from.time} / 1000.0)), ${head})`
}
