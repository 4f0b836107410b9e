/**
 * The statements on MySQL and MariaDB (InnoDB). What must be one transaction is one call of a procedure, or one
 * multi-statement packet (@effect/sql-mysql2 always allows them); the procedures are in `migrations/mysql.ts`.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { EventId } from "../../EventId.js"
import { hasCode } from "../../internal/sqlError.js"
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

/** Only for what was checked against a pattern, or comes out of UUIDs and digits: no backslash can be in it. */
const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`

const writing = ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"]
const reading = ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION READ ONLY"]

/** Set at the begin, released at the COMMIT: it is gone if InnoDB rolled the transaction back in between. */
const mark = "evt_transaction"
const savepointDoesNotExist = 1305

export interface MysqlDialect extends Dialect {
  readonly name: "mysql"
}

export const make = (names: Names, flavour: "MariaDB" | "MySQL"): MysqlDialect => {
  const columns = "uid, type, event_key, key_hash, meta, dedupe_key, data"
  // The guard is what keeps an emit after a swallowed deadlock from committing alone: InnoDB has rolled the transaction
  // back by then and the session is in autocommit. MySQL has no such variable, there a savepoint is the probe.
  const guard = flavour === "MariaDB" ? " FROM DUAL WHERE @@in_transaction" : ""
  const insertOne = `INSERT INTO ${names.queue} (${columns}) SELECT ?, ?, ?, ?, ?, ?, ?${guard}`
  const insertMany = `INSERT INTO ${names.queue} (${columns})
  SELECT e.u, e.t, e.k, e.h, e.m, e.p, e.d
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
      n FOR ORDINALITY, u CHAR(36) PATH '$.u', t VARCHAR(64) PATH '$.t', k VARCHAR(255) PATH '$.k',
      h BIGINT PATH '$.h', m LONGTEXT PATH '$.m', p VARCHAR(255) PATH '$.p', d LONGTEXT PATH '$.d')) e
   ${flavour === "MariaDB" ? "WHERE @@in_transaction" : ""}
   ORDER BY e.n`
  const probe = "SAVEPOINT evt_probe; RELEASE SAVEPOINT evt_probe; "

  const words: Words = {
    text: unicode,
    asText: (expression) => `CAST(${expression} AS CHAR)`,
    bytes: (column) => `LENGTH(${column})`,
    millis: (column) => `CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', ${column}) DIV 1000 AS CHAR)`,
    time: (millis) => `TIMESTAMPADD(MICROSECOND, (${millis}) * 1000, '1970-01-01')`,
    clock: "UTC_TIMESTAMP(3)",
    concat: (...texts) => `CONCAT(${texts.join(", ")})`,
    greatest: (a, b) => `GREATEST(${a}, ${b})`,
    locking: " FOR UPDATE",
    nowait: " FOR UPDATE NOWAIT",
    byKey: " FORCE INDEX (PRIMARY)",
    gate: [`SELECT 1 FROM ${names.gate} WHERE one = 1 FOR UPDATE`],
    head: `(SELECT h.last_id FROM ${names.head} h)`,
    leaveOut: (atLeast, jump) => [
      `UPDATE ${names.head} SET last_id = GREATEST(last_id, ${atLeast}) + ${jump} WHERE one = 1`
    ],
    start: (from) => start(names, from),
    // trailing spaces count: no collation of both flavours says so
    exact: (expression) => `CAST(${expression} AS BINARY)`,
    upsert: () => "ON DUPLICATE KEY UPDATE",
    now: "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
    least: (a, b) => `LEAST(${a}, ${b})`
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
      counted: (from, which) => [`DELETE FROM ${from} WHERE ${which}`, "SELECT CAST(ROW_COUNT() AS CHAR) AS deleted"],
      transact,
      inspect
    }),
    ...Vitals.make(names, words, inspect, Settings.mysql(flavour)),
    name: "mysql",
    sequenced: true,
    words,
    transact,
    inspect,

    begin: (conn, isolation) =>
      Effect.asVoid(
        conn.executeUnprepared(
          `${isolation === undefined ? "" : `SET TRANSACTION ISOLATION LEVEL ${level(isolation)}; `}` +
            `START TRANSACTION; SAVEPOINT ${mark}`,
          [],
          undefined
        )
      ),

    commit: (conn) =>
      conn.executeUnprepared(`RELEASE SAVEPOINT ${mark}; COMMIT`, [], undefined).pipe(
        Effect.as(true),
        Effect.catchIf((error) => hasCode(error, savepointDoesNotExist), () => Effect.succeed(false))
      ),

    rollback: (conn) => Effect.asVoid(conn.executeUnprepared("ROLLBACK", [], undefined)),

    emit: (conn, events) => {
      const [text, params] = events.length === 1
        ? [insertOne, toParams(events[0]!)]
        : [insertMany, [toDocument(events)]]
      if (flavour === "MariaDB") {
        return Effect.map(conn.executeRaw(text, params), (result) => {
          const { affectedRows, insertId } = result as { affectedRows: number; insertId: number | string }
          return { stored: affectedRows > 0, token: String(insertId) }
        })
      }
      return conn.executeUnprepared(probe + text, params, undefined).pipe(
        Effect.map((results) => ({ stored: true, token: String(results[2].insertId) })),
        Effect.catchIf(
          (error) => hasCode(error, savepointDoesNotExist),
          () => Effect.succeed({ stored: false, token: undefined })
        )
      )
    },

    statement: (events) => ({
      sql: `INSERT INTO ${names.queue} (${columns}) VALUES ${events.map(() => "(?, ?, ?, ?, ?, ?, ?)").join(", ")}`,
      params: events.flatMap(toParams)
    }),

    outcome: (conn, witness) => {
      // the row is locked as long as its transaction is open; once it is not, it is in the queue or in the log or nowhere
      const locked = `SELECT raw_id FROM ${names.queue} WHERE raw_id = ${BigInt(witness.token)} FOR UPDATE NOWAIT`
      const isLocked = (error: SqlError) => hasCode(error, 1205) || hasCode(error, 3572)
      return packet(conn, writing, [locked]).pipe(
        Effect.flatMap(([rows]): Effect.Effect<"committed" | "rolledBack", SqlError> =>
          rows.length > 0
            ? Effect.succeed("committed")
            : Effect.map(
              conn.execute(
                `SELECT 1 FROM ${names.log} WHERE uid = ? ORDER BY id DESC LIMIT 1`,
                [witness.uid],
                undefined
              ),
              (found) => found.length > 0 ? "committed" : "rolledBack"
            )
        ),
        Effect.catchIf(isLocked, () => Effect.succeed("pending" as const))
      )
    },

    sequence: (conn, limit) =>
      Effect.map(
        conn.executeUnprepared(`CALL ${names.sequence}(${limit})`, [], undefined),
        ([[{ head, taken }]]) => ({ taken: Number(taken), head: BigInt(head) })
      ),

    append: (conn, events, { deadline, limit }) =>
      Effect.map(
        conn.execute(`CALL ${names.append}(?, ${limit}, ${deadline})`, [toDocument(events)], undefined),
        ([[row]]) => {
          if (row.base === null) return events.map(() => null)
          const base = BigInt(row.base)
          const ids: ReadonlyArray<string> | undefined = row.ids === null
            ? undefined
            : typeof row.ids === "string"
            ? JSON.parse(row.ids)
            : row.ids
          return events.map((_, i) => (ids === undefined ? base + BigInt(i + 1) : BigInt(ids[i]!)) as EventId)
        }
      ),

    find: (conn, uids, { locked, since }) => {
      const list = uids.map(quote).join(", ")
      return Effect.map(
        packet(conn, writing, [
          locked ? `SELECT 1 FROM ${names.head} WHERE one = 1 FOR UPDATE` : "SELECT 1",
          `SELECT uid, NULL AS id FROM ${names.queue} WHERE uid IN (${list})`,
          `SELECT uid, CAST(id AS CHAR) AS id FROM ${names.log} WHERE id > ${since} AND uid IN (${list})`
        ]),
        ([, queued, logged]) =>
          new Map([...queued, ...logged].map((row) => [row.uid, row.id === null ? null : BigInt(row.id) as EventId]))
      )
    },

    findByDedupeKey: (conn, keys) =>
      Effect.map(
        conn.executeUnprepared(
          `SELECT dedupe_key, CAST(id AS CHAR) AS id FROM ${names.log} WHERE dedupe_key IN (${
            keys.map(() => "?").join(", ")
          })`,
          keys,
          undefined
        ),
        toIdsByKey
      ),

    now: (conn) =>
      Effect.map(
        conn.execute(
          "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000 AS CHAR) AS now",
          [],
          undefined
        ),
        ([row]) => Number(row.now)
      ),

    look: (conn, { after, ident, window }) =>
      Effect.map(
        conn.executeUnprepared(
          `SELECT CAST(m.generation AS CHAR) AS generation, CAST(h.last_id AS CHAR) AS head,
       CAST(c.last_evt_id AS CHAR) AS cursor_id, c.paused, CAST(${exclusive} AS CHAR) AS exclusive, ${
            window === 0 ? "NULL" : bound(names, after, window)
          } AS bound
  FROM ${names.meta} m
  JOIN ${names.head} h ON h.one = 1 AND m.one = 1
  LEFT JOIN ${names.consumers} c ON c.ident = ${ident === undefined ? "NULL" : quote(ident)}`,
          [],
          undefined
        ),
        ([row]) => toLook(row)
      ),

    // Prepared, with integers as they are: the binary protocol brings those exact, the large ones as text, whatever the
    // client's settings; with casts to text a page takes a quarter longer. Parameters are texts, which must not be
    // compared as floating point.
    page: (conn, { after, limit, partition, types, upTo }) =>
      Effect.map(
        conn.execute(
          `SELECT l.id, l.uid, l.type, l.event_key, l.key_hash, l.meta, l.data,
       TIMESTAMPDIFF(MICROSECOND, '1970-01-01', l.ts) DIV 1000 AS ts
  FROM ${names.log} l
 WHERE l.id > CAST(? AS SIGNED)${upTo === undefined ? "" : " AND l.id <= CAST(? AS SIGNED)"}${
            types === undefined ? "" : ` AND l.type IN (${types.map(quote).join(", ")})`
          }${ofPartition(partition, "l")}
 ORDER BY l.id
 LIMIT ${limit}`,
          upTo === undefined ? [after.toString()] : [after.toString(), upTo.toString()],
          undefined
        ),
        (rows) => rows.map(toStored)
      ),

    changes: undefined,

    register: (conn, { exclusive, from, ident }) =>
      Effect.map(
        packet(conn, writing, [
          `SELECT 1 FROM ${names.gate} WHERE one = 1 FOR UPDATE`,
          // epochs begin at the clock: one of before an earlier end of this registration fits no more
          `INSERT IGNORE INTO ${names.consumers} (ident, last_evt_id, exclusive, epoch)
SELECT ${quote(ident)}, ${start(names, from)}, ${Number(exclusive)}, ${words.now}${unlessDiscarded(names, from)}`,
          `SELECT CAST(c.last_evt_id AS CHAR) AS cursor_id, CAST(r.discarded_to AS CHAR) AS discarded_to
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
            `SELECT 1 FROM ${names.gate} WHERE one = 1 FOR UPDATE`,
            `DELETE FROM ${names.consumers} WHERE ident = ${quote(ident)}`,
            `DELETE FROM ${names.partitions} WHERE ident = ${quote(ident)}`
          ].toSpliced(1, 0, ...leaving(names, words, ident))
        ),
        (results) => (results[results.length - 2] as unknown as { affectedRows: number }).affectedRows > 0
      ),

    acknowledge: (conn, ident, upTo) =>
      Effect.asVoid(
        conn.executeUnprepared(
          `UPDATE ${names.consumers} SET last_evt_id = ${upTo}, updated_at = UTC_TIMESTAMP(3)
 WHERE ident = ${quote(ident)} AND last_evt_id < ${upTo} AND exclusive = 0 AND partitions = 0`,
          [],
          undefined
        )
      ),

    claim: (conn, { force, ident, owner, ttl }) => {
      const name = quote(leaseName(ident))
      const place = placeOf(names, ident)
      return Effect.map(
        packet(conn, writing, [
          `INSERT IGNORE INTO ${names.leases} (name, owner, expires)
SELECT ${name}, '', UTC_TIMESTAMP(3) FROM ${place.table} WHERE ${place.is()}`,
          `UPDATE ${names.leases} SET owner = ${quote(owner)}, expires = ${later(ttl)}
 WHERE name = ${name} AND EXISTS (SELECT 1 FROM ${place.from} WHERE ${place.is("r")} AND ${claimable(place)})
   AND (${force} OR owner = ${quote(owner)} OR expires <= UTC_TIMESTAMP(3))`,
          `UPDATE ${place.table} SET epoch = epoch + 1 WHERE ${place.is()}
   AND EXISTS (SELECT 1 FROM ${names.leases} l WHERE l.name = ${name} AND l.owner = ${quote(owner)})`,
          `SELECT CAST(r.epoch AS CHAR) AS epoch, CAST(r.last_evt_id AS CHAR) AS cursor_id, c.paused,
       CAST(c.partitions AS CHAR) AS partitions, l.owner,
       CAST(TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(3), l.expires) DIV 1000 AS CHAR) AS expires_in
  FROM ${place.from} LEFT JOIN ${names.leases} l ON l.name = ${name}
 WHERE ${place.is("r")}`
        ]),
        (results) => toClaim((results as ReadonlyArray<any>)[3][0], owner, place)
      )
    },

    renew: (conn, leases, ttl) =>
      Effect.map(
        packet(conn, writing, [
          `UPDATE ${names.leases} SET expires = ${later(ttl)} WHERE ${among(leases)}`,
          `SELECT name, owner FROM ${names.leases} WHERE ${among(leases)}`
        ]),
        ([, rows]) => toLeases(rows)
      ),

    release: (conn, leases) =>
      Effect.asVoid(packet(conn, writing, [`DELETE FROM ${names.leases} WHERE ${among(leases)}`])),

    // Nearly always there is nothing but the cursor to move: one statement, prepared. (The driver asks the server to count
    // the rows that were found, not those that changed.) If it found none, the packet tells why.
    step: (conn, step) => {
      const alone = stepAlone(conn, writing, statements, step)
      if (step.deadLetters.length > 0) return alone
      const { consumer, partition, table } = placeOf(names, step.ident)
      const upTo = step.upTo.toString()
      return Effect.flatMap(
        conn.executeRaw(
          `UPDATE ${table} SET last_evt_id = CAST(? AS SIGNED), updated_at = UTC_TIMESTAMP(3)
 WHERE epoch = CAST(? AS SIGNED) AND last_evt_id <= CAST(? AS SIGNED) AND ident = ?${
            partition === undefined ? "" : " AND part = CAST(? AS SIGNED)"
          }`,
          [upTo, step.epoch.toString(), upTo, consumer, ...(partition === undefined ? [] : [partition])]
        ),
        (result) => (result as { affectedRows: number }).affectedRows > 0 ? Effect.succeed("done" as const) : alone
      )
    },

    stepWithin: (conn, step) => stepWithin(conn, statements, step)
  }
}

const later = (ms: number): string => `UTC_TIMESTAMP(3) + INTERVAL ${ms * 1000} MICROSECOND`

/**
 * Any text as a literal, whatever the session's sql_mode and character set. Plain where it can be: compared with a converted
 * one a column of names would not be found by its index.
 */
const unicode = (text: string): string =>
  /^[ -[\]-~]*$/.test(text) ? quote(text) : `CONVERT(0x${Buffer.from(text, "utf8").toString("hex")} USING utf8mb4)`

/**
 * The consumer first: its row is locked from then on, and with it the right to write dead letters. Its cursor moves when
 * they are all there. The last one reads the epoch.
 */
const stepping = (names: Names): Statements => {
  const placed = ({ ident }: Step) => placeOf(names, ident)
  const mine = (step: Step, alias?: string) =>
    `${placed(step).is(alias)} AND ${alias === undefined ? "" : `${alias}.`}epoch = ${step.epoch}`
  const move = (step: Step) =>
    `UPDATE ${placed(step).table} SET last_evt_id = ${step.upTo}, updated_at = UTC_TIMESTAMP(3)
 WHERE ${mine(step)} AND last_evt_id <= ${step.upTo}`
  const place = (step: Step) =>
    `SELECT CAST(epoch AS CHAR) AS epoch, CAST(last_evt_id AS CHAR) AS cursor_id
  FROM ${placed(step).table} WHERE ${placed(step).is()} FOR UPDATE`
  const known = (parked: boolean) => `ON DUPLICATE KEY UPDATE ${parked ? "parked = 1" : "redrive = redrive"}`
  return {
    step: (step) => {
      const { deadLetters } = step
      const { consumer, table } = placed(step)
      if (deadLetters.length === 0) return [move(step), place(step)]
      const ids = deadLetters.map(({ row }) => row.id).join(", ")
      return [
        `UPDATE ${table} SET updated_at = UTC_TIMESTAMP(3) WHERE ${mine(step)}`,
        ...alike(deadLetters).map(({ attempts, error, ids, parked }) =>
          `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, l.id, l.uid, l.type, l.event_key, l.key_hash, l.meta, l.data, l.ts, ${unicode(error)}, ${attempts}, ${
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
      conn.executeUnprepared(
        `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, ?, ?, ?, ?, ?, ?, ?, TIMESTAMPADD(MICROSECOND, ? * 1000, '1970-01-01'), ?, ?, ?
  FROM ${placed(step).table} c WHERE ${mine(step, "c")} ${known(letter.parked)}`,
        toValues(letter),
        undefined
      )
  }
}

const level = (isolation: Isolation): string => isolation.toUpperCase()

/** The last id of the first `window` rows after the position; all that are there if fewer. */
const bound = (names: Names, after: bigint, window: number): string => {
  const position = `GREATEST(COALESCE(c.last_evt_id, 0), ${after})`
  return `CAST(COALESCE(
       (SELECT l.id FROM ${names.log} l WHERE l.id > ${position} ORDER BY l.id LIMIT 1 OFFSET ${window - 1}),
       (SELECT MAX(l.id) FROM ${names.log} l WHERE l.id > ${position})) AS CHAR)`
}

/** The cursor that a registration starts with. */
const start = (names: Names, from: Start): string => {
  const head = `(SELECT h.last_id FROM ${names.head} h)`
  if (from === "beginning") {
    return `COALESCE((SELECT MIN(l.id) - 1 FROM ${names.log} l WHERE l.id > ${discarded(names)}), ${head})`
  }
  if (from === "end") return head
  if ("after" in from) return `${from.after}`
  const time = `TIMESTAMPADD(MICROSECOND, ${from.time} * 1000, '1970-01-01')`
  return `COALESCE((SELECT MIN(l.id) - 1 FROM ${names.log} l WHERE l.ts >= ${time}), ${head})`
}
