/**
 * The statements on SQLite (>= 3.35). One writer at a time: the write lock is taken before the first statement and held
 * to COMMIT, so ids are given in commit order and `evt_log` is written directly.
 *
 * Nothing here waits inside the driver, which is synchronous and would freeze the whole process: the lock is asked for
 * with busy_timeout 0, and who does not get it tries again later (`store.ts`).
 */
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { NewEvent } from "../../Event.js"
import type { EventId } from "../../EventId.js"
import type { Start, Step, Stepped } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"
import type { Dialect } from "./Dialect.js"
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
  toStepped,
  toStored,
  toValues,
  unlessDiscarded
} from "./Dialect.js"
import * as Discard from "./discard.js"
import * as Groups from "./groups.js"
import { now } from "./migrations/sqlite.js"
import * as Administration from "./administration.js"
import { joining, leaving } from "./administration.js"
import * as Letters from "./letters.js"
import type { Names } from "./names.js"
import { claimable, placeOf } from "./place.js"
import * as Retention from "./retention.js"
import * as Settings from "./settings.js"
import * as Steps from "./steps.js"
import * as Vitals from "./vitals.js"
import type { Transact, Words } from "./words.js"

/** A backslash is nothing special here. */
const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`

export interface SqliteDialect extends Dialect {
  readonly name: "sqlite"
  /** Any effect on the connection as one transaction, with the write lock from its start. */
  readonly writing: <A>(conn: Connection, f: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>
}

/** `busyTimeout`: what the user's client had, restored once the lock is ours. */
export const make = (names: Names, busyTimeout: number): SqliteDialect => {
  const columns = "uid, type, event_key, key_hash, meta, dedupe_key, data"
  const skipTwins = "ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING"
  const insertOne = `INSERT INTO ${names.log} (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?) ${skipTwins}`
  const insertMany = `INSERT INTO ${names.log} (${columns})
  SELECT json_extract(value, '$.u'), json_extract(value, '$.t'), json_extract(value, '$.k'), json_extract(value, '$.h'),
         json_extract(value, '$.m'), json_extract(value, '$.p'), json_extract(value, '$.d')
    FROM json_each(?) WHERE true ORDER BY key ${skipTwins}`
  /** Nobody but receivers with a lease may move its cursor. */
  const exclusive = "(CASE WHEN c.exclusive = 1 OR c.partitions > 0 THEN 1 ELSE 0 END)"
  const head = `coalesce((SELECT seq FROM sqlite_sequence WHERE name = ${quote(`${names.prefix}log`)}), 0)`

  const patient = (conn: Connection) => conn.execute(`PRAGMA busy_timeout = ${busyTimeout}`, [], undefined)
  const begin = (conn: Connection): Effect.Effect<void, SqlError> =>
    busyTimeout === 0
      ? Effect.asVoid(conn.execute("BEGIN IMMEDIATE", [], undefined))
      : Effect.flatMap(conn.execute("PRAGMA busy_timeout = 0", [], undefined), () =>
        Effect.matchEffect(conn.execute("BEGIN IMMEDIATE", [], undefined), {
          onFailure: (error) =>
            Effect.zipRight(patient(conn), Effect.fail(error)),
          onSuccess: () => Effect.asVoid(patient(conn))
        }))

  const commit = (conn: Connection): Effect.Effect<boolean, SqlError> =>
    Effect.as(conn.execute("COMMIT", [], undefined), true)

  const rollback = (conn: Connection): Effect.Effect<void, SqlError> =>
    Effect.asVoid(conn.execute("ROLLBACK", [], undefined))

  /** All of it in one synchronous go. A COMMIT that failed has left the transaction open: it is rolled back as well. */
  const writing = <A>(conn: Connection, f: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.zipRight(
      begin(conn),
      Effect.tapErrorCause(Effect.zipLeft(f, commit(conn)), () => Effect.ignore(rollback(conn)))
    )

  const emit = (conn: Connection, events: ReadonlyArray<NewEvent>): Effect.Effect<Rows, SqlError> =>
    events.length === 1
      ? conn.execute(insertOne, toParams(events[0]!), undefined)
      : conn.execute(insertMany, [toDocument(events)], undefined)

  const words: Words = {
    text: quote,
    asText: (expression) => `CAST(${expression} AS TEXT)`,
    bytes: (column) => `length(CAST(${column} AS BLOB))`,
    millis: (column) => `CAST(${column} AS TEXT)`,
    time: (millis) => `(${millis})`,
    clock: now,
    concat: (...texts) => texts.join(" || "),
    greatest: (a, b) => `max(${a}, ${b})`,
    locking: "",
    nowait: "",
    byKey: "",
    gate: [],
    head: head,
    leaveOut: (atLeast, jump) => {
      const name = quote(`${names.prefix}log`)
      return [
        `INSERT INTO sqlite_sequence (name, seq)
SELECT ${name}, 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ${name})`,
        `UPDATE sqlite_sequence SET seq = max(seq, ${atLeast}) + ${jump} WHERE name = ${name}`
      ]
    },
    start: (from) => start(names, head, from),
    exact: (expression) => expression,
    upsert: (key) => `ON CONFLICT (${key}) DO UPDATE SET`,
    now,
    least: (a, b) => `min(${a}, ${b})`
  }

  const inspect: Transact = (conn, texts) => Effect.forEach(texts, (text) => conn.execute(text, [], undefined))
  const transact: Transact = (conn, texts) => writing(conn, inspect(conn, texts))

  return {
    ...Letters.make(names, words, transact, inspect),
    ...Administration.make(names, words, transact, inspect),
    ...Retention.make(names, words, inspect),
    ...Groups.make(names, words, transact, inspect),
    ...Steps.make(names, words, transact),
    ...Discard.make(names, words, {
      counted: (from, which) => [`DELETE FROM ${from} WHERE ${which}`, "SELECT CAST(changes() AS TEXT) AS deleted"],
      transact,
      inspect
    }),
    ...Vitals.make(names, words, inspect, Settings.sqlite),
    name: "sqlite",
    sequenced: false,
    words,
    transact,
    inspect,
    writing,

    begin: (conn) => begin(conn),

    commit,

    rollback,

    emit: (conn, events) => Effect.as(emit(conn, events), { stored: true, token: undefined }),

    statement: (events) => ({
      sql: `INSERT INTO ${names.log} (${columns}) VALUES ${events.map(() => "(?, ?, ?, ?, ?, ?, ?)").join(", ")} ` +
        skipTwins,
      params: events.flatMap(toParams)
    }),

    // in one process the answer to a COMMIT cannot be lost
    outcome: () => Effect.succeed("pending" as const),

    // nothing waits to be sequenced: store.sequenced is false, nobody asks
    sequence: () => Effect.succeed({ taken: 0, head: 0n }),

    append: (conn, events) =>
      writing(
        conn,
        Effect.gen(function*() {
          const [{ base }] = yield* conn.execute(`SELECT CAST(${head} AS TEXT) AS base`, [], undefined)
          yield* emit(conn, events)
          const own = yield* conn.execute(
            `SELECT CAST(id AS TEXT) AS id, uid FROM ${names.log} WHERE id > CAST(? AS INTEGER)`,
            [base],
            undefined
          )
          const ids = new Map<string, string>(own.map((row) => [row.uid, row.id]))
          for (const event of events) {
            if (ids.has(event.uid)) continue
            const [twin] = yield* conn.execute(
              `SELECT CAST(id AS TEXT) AS id FROM ${names.log} WHERE dedupe_key = ?`,
              [event.dedupeKey],
              undefined
            )
            ids.set(event.uid, twin.id)
          }
          return events.map((event) => BigInt(ids.get(event.uid)!) as EventId)
        })
      ),

    find: (conn, uids, { since }) =>
      Effect.map(
        conn.execute(
          `SELECT uid, CAST(id AS TEXT) AS id FROM ${names.log} WHERE id > ${since} AND uid IN (${
            uids.map(quote).join(", ")
          })`,
          [],
          undefined
        ),
        (rows) => new Map(rows.map((row) => [row.uid, BigInt(row.id) as EventId]))
      ),

    findByDedupeKey: (conn, keys) =>
      Effect.map(
        conn.execute(
          `SELECT dedupe_key, CAST(id AS TEXT) AS id FROM ${names.log} WHERE dedupe_key IN (${
            keys.map(() => "?").join(", ")
          })`,
          keys,
          undefined
        ),
        toIdsByKey
      ),

    now: () => Effect.sync(() => Date.now()),

    look: (conn, { after, ident, window }) =>
      Effect.map(
        conn.execute(
          `SELECT CAST(m.generation AS TEXT) AS generation, CAST(${head} AS TEXT) AS head,
       CAST(c.last_evt_id AS TEXT) AS cursor_id, c.paused,
       CAST(${exclusive} AS TEXT) AS exclusive,
       ${window === 0 ? "NULL" : bound(names, window)} AS bound
  FROM ${names.meta} m
  LEFT JOIN ${names.consumers} c ON c.ident = ?`,
          window === 0 ? [ident ?? null] : [after, after, ident ?? null],
          undefined
        ),
        ([row]) => toLook(row)
      ),

    // ORDER BY names the column, not the text of the same name in the list
    page: (conn, { after, limit, partition, types, upTo }) =>
      Effect.map(
        conn.execute(
          `SELECT CAST(id AS TEXT) AS id, uid, type, event_key, CAST(key_hash AS TEXT) AS key_hash, meta, data, CAST(ts AS TEXT) AS ts
  FROM ${names.log} l
 WHERE l.id > ?${upTo === undefined ? "" : " AND l.id <= ?"}${
            types === undefined ? "" : ` AND l.type IN (${types.map(quote).join(", ")})`
          }${ofPartition(partition, "l")}
 ORDER BY l.id
 LIMIT ?`,
          upTo === undefined ? [after, limit] : [after, upTo, limit],
          undefined
        ),
        (rows) => rows.map(toStored)
      ),

    changes: (conn) => Effect.map(conn.execute("PRAGMA data_version", [], undefined), ([row]) => row.data_version),

    register: (conn, { exclusive, from, ident }) =>
      writing(
        conn,
        Effect.gen(function*() {
          yield* conn.execute(
            // epochs begin at the clock: one of before an earlier end of this registration fits no more
            `INSERT OR IGNORE INTO ${names.consumers} (ident, last_evt_id, exclusive, epoch)
SELECT ?, ${start(names, head, from)}, ?, ${now}${unlessDiscarded(names, from)}`,
            [ident, Number(exclusive)],
            undefined
          )
          yield* inspect(conn, joining(names, ident))
          const [row] = yield* conn.execute(
            `SELECT CAST(c.last_evt_id AS TEXT) AS cursor_id, CAST(r.discarded_to AS TEXT) AS discarded_to
  FROM ${names.retention} r LEFT JOIN ${names.consumers} c ON c.ident = ?`,
            [ident],
            undefined
          )
          return toRegistered(row)
        })
      ),

    unregister: (conn, ident) =>
      writing(
        conn,
        Effect.map(
          Effect.zipRight(
            inspect(conn, [
              ...leaving(names, words, ident),
              `DELETE FROM ${names.partitions} WHERE ident = ${quote(ident)}`
            ]),
            conn.execute(`DELETE FROM ${names.consumers} WHERE ident = ? RETURNING 1`, [ident], undefined)
          ),
          (rows) => rows.length > 0
        )
      ),

    acknowledge: (conn, ident, upTo) =>
      writing(
        conn,
        Effect.asVoid(conn.execute(
          `UPDATE ${names.consumers}
   SET last_evt_id = ?, updated_at = ${now}
 WHERE ident = ? AND last_evt_id < ? AND exclusive = 0 AND partitions = 0`,
          [upTo, ident, upTo],
          undefined
        ))
      ),

    claim: (conn, { force, ident, owner, ttl }) => {
      const name = leaseName(ident)
      const place = placeOf(names, ident)
      const find = Effect.map(
        conn.execute(
          `SELECT CAST(r.epoch AS TEXT) AS epoch, CAST(r.last_evt_id AS TEXT) AS cursor_id, c.paused,
       CAST(c.partitions AS TEXT) AS partitions, l.owner, CAST(l.expires - ${now} AS TEXT) AS expires_in
  FROM ${place.from} LEFT JOIN ${names.leases} l ON l.name = ? WHERE ${place.is("r")}`,
          [name],
          undefined
        ),
        ([row]) => row
      )
      const take = writing(
        conn,
        Effect.gen(function*() {
          yield* conn.execute(
            `INSERT INTO ${names.leases} (name, owner, expires) SELECT ?, ?, ${now} + ?
  FROM ${place.from} WHERE ${place.is("r")} AND ${claimable(place)}
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires = excluded.expires
 WHERE ${force} OR owner = excluded.owner OR expires <= ${now}`,
            [name, owner, ttl],
            undefined
          )
          yield* conn.execute(
            `UPDATE ${place.table} SET epoch = epoch + 1 WHERE ${place.is()}
   AND EXISTS (SELECT 1 FROM ${names.leases} l WHERE l.name = ? AND l.owner = ?)`,
            [name, owner],
            undefined
          )
          return toClaim(yield* find, owner, place)
        })
      )
      // who waits looks without the write lock
      return Effect.flatMap(
        find,
        (row) =>
          row === undefined || row.paused !== null
            ? Effect.succeed(toClaim(row, owner, place))
            : force || row.owner === null || row.owner === owner || Number(row.expires_in) <= 0
            ? take
            : Effect.succeed(toClaim(row, owner, place))
      )
    },

    renew: (conn, leases, ttl) =>
      writing(
        conn,
        Effect.map(
          conn.execute(
            `UPDATE ${names.leases} SET expires = ${now} + ? WHERE ${among(leases)} RETURNING name, owner`,
            [ttl],
            undefined
          ),
          toLeases
        )
      ),

    release: (conn, leases) =>
      writing(
        conn,
        Effect.asVoid(conn.execute(`DELETE FROM ${names.leases} WHERE ${among(leases)}`, [], undefined))
      ),

    step: (conn, step) => writing(conn, steps(names, conn, step)),

    stepWithin: (conn, step) => steps(names, conn, step)
  }
}

const steps = (names: Names, conn: Connection, step: Step): Effect.Effect<Stepped, SqlError> =>
  Effect.gen(function*() {
    const { deadLetters, epoch, ident, upTo } = step
    const place = placeOf(names, ident)
    const known = (parked: boolean) => `ON CONFLICT (ident, id) DO ${parked ? "UPDATE SET parked = 1" : "NOTHING"}`
    yield* conn.execute(
      `UPDATE ${place.table} SET last_evt_id = ?, updated_at = ${now}
 WHERE ${place.is()} AND epoch = ? AND last_evt_id <= ?`,
      [upTo, epoch, upTo],
      undefined
    )
    for (const { attempts, error, ids, parked } of alike(deadLetters)) {
      yield* conn.execute(
        `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, l.id, l.uid, l.type, l.event_key, l.key_hash, l.meta, l.data, l.ts, ?, ?, ?
  FROM ${names.log} l JOIN ${place.table} c ON ${place.is("c")} AND c.epoch = ?
 WHERE l.id IN (SELECT value FROM json_each(?)) ${known(parked)}`,
        [error, attempts, Number(parked), epoch, `[${ids.join(", ")}]`],
        undefined
      )
    }
    if (deadLetters.length > 0) {
      const stored = yield* conn.execute(
        `SELECT CAST(id AS TEXT) AS id FROM ${names.deadLetters}
 WHERE ident = ? AND id IN (SELECT value FROM json_each(?))`,
        [place.consumer, `[${deadLetters.map(({ row }) => row.id).join(", ")}]`],
        undefined
      )
      // what has left the log meanwhile
      const ids = new Set(stored.map((row) => row.id))
      for (const letter of deadLetters) {
        if (ids.has(letter.row.id.toString())) continue
        yield* conn.execute(
          `INSERT INTO ${names.deadLetters} (${letterColumns})
SELECT c.ident, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM ${place.table} c WHERE ${place.is("c")} AND c.epoch = ?`,
          [...toValues(letter), epoch],
          undefined
        )
      }
    }
    const [row] = yield* conn.execute(
      `SELECT CAST(epoch AS TEXT) AS epoch FROM ${place.table} WHERE ${place.is()}`,
      [],
      undefined
    )
    return toStepped(row, step)
  })

/** The last id of the first `window` rows after the position; all that are there if fewer. */
const bound = (names: Names, window: number): string => {
  const position = "max(coalesce(c.last_evt_id, 0), ?)"
  return `CAST(coalesce(
       (SELECT l.id FROM ${names.log} l WHERE l.id > ${position} ORDER BY l.id LIMIT 1 OFFSET ${window - 1}),
       (SELECT max(l.id) FROM ${names.log} l WHERE l.id > ${position})) AS TEXT)`
}

/** The cursor that a registration starts with. */
const start = (names: Names, head: string, from: Start): string => {
  if (from === "beginning") {
    return `coalesce((SELECT min(l.id) - 1 FROM ${names.log} l WHERE l.id > ${discarded(names)}), ${head})`
  }
  if (from === "end") return head
  return "after" in from
    ? `${from.after}`
    : `coalesce((SELECT min(l.id) - 1 FROM ${names.log} l WHERE l.ts >= ${from.time}), ${head})`
}
