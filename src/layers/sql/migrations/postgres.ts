/**
 * The tables of a stream on PostgreSQL (>= 13). A step is run in one transaction with its record.
 */
import type { Names } from "../names.js"
import type { Step } from "../migrate.js"

export const steps = (names: Names): ReadonlyArray<Step> => [
  { id: 1, name: "tables", statements: tables(names) },
  { id: 2, name: "routines", statements: routines(names) },
  { id: 3, name: "administration", statements: administration(names) },
  { id: 4, name: "partitions", statements: partitions(names) }
]

const tables = (names: Names) => [
  // Defaults are evaluated in the order of the columns: the transaction has its xid before it draws a raw_id, which is
  // what the floor of the sequencer rests on. Sequences keep CACHE 1: raw_id grows with real time (invariant 3).
  `CREATE TABLE IF NOT EXISTS ${names.queue} (
    xid        xid8           NOT NULL DEFAULT pg_current_xact_id(),
    raw_id     bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uid        uuid           NOT NULL DEFAULT gen_random_uuid(),
    type       text           NOT NULL,
    event_key  text,
    key_hash   bigint,
    meta       json,
    dedupe_key text,
    data       json           NOT NULL,
    ts         timestamptz(3) NOT NULL DEFAULT clock_timestamp()
  ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)`,
  `CREATE TABLE IF NOT EXISTS ${names.log} (
    id         bigint         PRIMARY KEY,
    uid        uuid           NOT NULL,
    type       text           NOT NULL,
    event_key  text,
    key_hash   bigint         NOT NULL,
    meta       json,
    dedupe_key text,
    data       json           NOT NULL,
    ts         timestamptz(3) NOT NULL
  )`,
  `CREATE UNIQUE INDEX IF NOT EXISTS "${names.prefix}log_dedupe_key" ON ${names.log} (dedupe_key)
    WHERE dedupe_key IS NOT NULL`,
  `CREATE TABLE IF NOT EXISTS ${names.head} (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    last_id    bigint      NOT NULL DEFAULT 0,
    floor      bigint      NOT NULL DEFAULT 0,
    next_floor bigint      NOT NULL DEFAULT 0,
    barrier    xid8        NOT NULL DEFAULT '0',
    floor_at   timestamptz NOT NULL DEFAULT clock_timestamp()
  ) WITH (fillfactor = 10)`,
  `INSERT INTO ${names.head} DEFAULT VALUES ON CONFLICT DO NOTHING`,
  `CREATE TABLE IF NOT EXISTS ${names.meta} (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    stream     uuid    NOT NULL DEFAULT gen_random_uuid(),
    generation integer NOT NULL DEFAULT 1
  )`,
  `INSERT INTO ${names.meta} DEFAULT VALUES ON CONFLICT DO NOTHING`,
  `CREATE TABLE IF NOT EXISTS ${names.gate} (
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
  )`,
  `INSERT INTO ${names.gate} DEFAULT VALUES ON CONFLICT DO NOTHING`,
  `CREATE TABLE IF NOT EXISTS ${names.consumers} (
    ident         varchar(64) PRIMARY KEY,
    last_evt_id   bigint      NOT NULL,
    epoch         bigint      NOT NULL DEFAULT 0,
    paused        text,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
  ) WITH (fillfactor = 50)`,
  `CREATE TABLE IF NOT EXISTS ${names.leases} (
    name    varchar(100) PRIMARY KEY,
    owner   varchar(64)  NOT NULL,
    expires timestamptz  NOT NULL
  ) WITH (fillfactor = 50)`,
  `CREATE TABLE IF NOT EXISTS ${names.deadLetters} (
    ident     varchar(64)    NOT NULL,
    id        bigint         NOT NULL,
    uid       uuid           NOT NULL,
    type      text           NOT NULL,
    event_key text,
    key_hash  bigint         NOT NULL,
    meta      json,
    data      json           NOT NULL,
    ts        timestamptz(3) NOT NULL,
    error     text           NOT NULL,
    attempts  integer        NOT NULL,
    parked    smallint       NOT NULL DEFAULT 0,
    redrive   smallint       NOT NULL DEFAULT 0,
    failed_at timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ident, id)
  )`
]

const administration = (names: Names) => [
  `ALTER TABLE ${names.consumers} ADD COLUMN IF NOT EXISTS exclusive smallint NOT NULL DEFAULT 0`,
  // ids above after_id are of that generation, up to the after_id of the next one
  `CREATE TABLE IF NOT EXISTS ${names.generations} (
    generation integer     PRIMARY KEY,
    after_id   bigint      NOT NULL,
    since      timestamptz NOT NULL DEFAULT clock_timestamp()
  )`,
  `INSERT INTO ${names.generations} (generation, after_id) VALUES (1, 0) ON CONFLICT DO NOTHING`,
  `CREATE TABLE IF NOT EXISTS ${names.retention} (
    one              boolean  PRIMARY KEY DEFAULT true CHECK (one),
    archive_required smallint NOT NULL DEFAULT 0,
    archived_to      bigint   NOT NULL DEFAULT 0,
    discarded_to     bigint   NOT NULL DEFAULT 0,
    discarded_at     timestamptz
  )`,
  `INSERT INTO ${names.retention} DEFAULT VALUES ON CONFLICT DO NOTHING`,
  `CREATE TABLE IF NOT EXISTS ${names.audit} (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text        NOT NULL,
    action text        NOT NULL,
    ident  varchar(64),
    detail text        NOT NULL
  )`
]

const partitions = (names: Names) => [
  // 0: an ordinary consumer
  `ALTER TABLE ${names.consumers} ADD COLUMN IF NOT EXISTS partitions smallint NOT NULL DEFAULT 0`,
  `CREATE TABLE IF NOT EXISTS ${names.partitions} (
    ident       varchar(64) NOT NULL,
    part        smallint    NOT NULL,
    last_evt_id bigint      NOT NULL,
    epoch       bigint      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ident, part)
  ) WITH (fillfactor = 50)`
]

const events = "uid, type, event_key, key_hash, meta, dedupe_key, data"

/** The plans are pinned: without it a long queue of dead rows is scanned; with it JIT would compile every call. */
const pinned = `SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off`

/** After this long the floor starts again at 0: it saves work and must never be able to hide an event for good. */
const floor = (row: string) =>
  `CASE WHEN ${row}.floor_at < clock_timestamp() - interval '60 seconds' THEN 0 ELSE ${row}.floor END`

const routines = (names: Names) => {
  const lastDrawn = `SELECT s.last_value - (NOT s.is_called)::int INTO seen FROM ${names.of("queue_raw_id_seq")} s`
  return [
    // The caller holds the head row, and has read `seen` from the queue's sequence before it had an xid of its own.
    // READ COMMITTED only: the statement that picks must have a snapshot that is younger than the lock.
    //
    // Why nothing is skipped by the floor: an owner of a raw_id <= seen had its xid before it drew it, so before `seen`
    // was read, so its xid is smaller than ours (`barrier`). Once a later snapshot's xmin is above the barrier all of
    // them have ended, and a pick of that snapshot which reached past next_floor, or found less than it asked for, has
    // moved all that committed.
    `CREATE OR REPLACE FUNCTION ${names.move}(n integer, seen bigint) RETURNS integer LANGUAGE plpgsql ${pinned} AS $fn$
DECLARE
  h      ${names.head};
  low    bigint;
  top_id bigint;
  xmin_  xid8;
  taken  integer;
  given  integer;
BEGIN
  SELECT * INTO h FROM ${names.head};
  low := ${floor("h")};
  xmin_ := pg_snapshot_xmin(pg_current_snapshot());
  WITH top AS MATERIALIZED (
    SELECT max(w.raw_id) AS raw_id
      FROM (SELECT q.raw_id FROM ${names.queue} q WHERE q.raw_id > low ORDER BY q.raw_id LIMIT n) w
  ), moved AS (
    DELETE FROM ${names.queue} q
     WHERE q.raw_id > low AND q.raw_id <= (SELECT top.raw_id FROM top)
    RETURNING q.*
  ), kept AS (
    SELECT m.* FROM moved m WHERE m.dedupe_key IS NULL
    UNION ALL
    (SELECT DISTINCT ON (m.dedupe_key) m.* FROM moved m
      WHERE m.dedupe_key IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM ${names.log} l WHERE l.dedupe_key = m.dedupe_key)
      ORDER BY m.dedupe_key, m.raw_id)
  ), logged AS (
    INSERT INTO ${names.log} (id, ${events}, ts)
    SELECT h.last_id + row_number() OVER (ORDER BY k.raw_id), k.uid, k.type, k.event_key,
           coalesce(k.key_hash, ('x' || CASE WHEN k.event_key IS NULL THEN right(k.uid::text, 8)
                                             ELSE left(md5(k.event_key), 8) END)::bit(32)::bigint),
           k.meta, k.dedupe_key, k.data, k.ts
      FROM kept k ORDER BY k.raw_id
    RETURNING 1
  )
  SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM logged), (SELECT top.raw_id FROM top)
    INTO taken, given, top_id;
  IF taken = 0 THEN
    RETURN 0;
  END IF;
  IF low = 0 AND h.floor > 0 THEN
    UPDATE ${names.head}
       SET last_id = h.last_id + given, floor = 0, next_floor = seen, barrier = pg_current_xact_id(),
           floor_at = clock_timestamp();
  ELSIF h.barrier < xmin_ AND (taken < n OR top_id >= h.next_floor) THEN
    UPDATE ${names.head}
       SET last_id = h.last_id + given, floor = h.next_floor, next_floor = seen, barrier = pg_current_xact_id(),
           floor_at = CASE WHEN h.floor = 0 THEN clock_timestamp() ELSE h.floor_at END;
  ELSE
    UPDATE ${names.head} SET last_id = h.last_id + given;
  END IF;
  RETURN taken;
END $fn$`,

    // -1: somebody else holds the head. An idle call takes no lock, no xid and writes no WAL.
    `CREATE OR REPLACE FUNCTION ${names.sequence}(n integer) RETURNS integer LANGUAGE plpgsql ${pinned} AS $fn$
DECLARE
  seen bigint;
  low  bigint;
BEGIN
  ${lastDrawn};
  SELECT ${floor("h")} INTO low FROM ${names.head} h;
  PERFORM q.raw_id FROM ${names.queue} q WHERE q.raw_id > low ORDER BY q.raw_id LIMIT 1;
  IF NOT FOUND THEN
    RETURN 0;
  END IF;
  PERFORM 1 FROM ${names.head} FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN -1;
  END IF;
  RETURN ${names.move}(n, seen);
END $fn$`,

    // Waits for the head, moves one batch of what is pending, then appends. If there may be more pending, the events go
    // to the queue behind it: an add never overtakes an emit that committed before it.
    // A call that gets the head after its deadline writes nothing: whoever holds the head after the deadline knows for
    // certain what became of it (see groupCommit.ts).
    `CREATE OR REPLACE FUNCTION ${names.append}(batch json, n integer, deadline bigint)
RETURNS TABLE (ord integer, id bigint) LANGUAGE plpgsql ${pinned} AS $fn$
#variable_conflict use_column
DECLARE
  seen  bigint;
  base  bigint;
  taken integer;
BEGIN
  ${lastDrawn};
  PERFORM 1 FROM ${names.head} FOR UPDATE;
  IF extract(epoch FROM clock_timestamp()) * 1000 > deadline THEN
    RAISE EXCEPTION 'evt: append came too late' USING ERRCODE = 'EVT01';
  END IF;
  taken := ${names.move}(n, seen);
  IF taken >= n THEN
    INSERT INTO ${names.queue} (${events})
    SELECT b.u, b.t, b.k, b.h, b.m::json, b.p, b.d::json
      FROM json_to_recordset(batch) AS b(n integer, u uuid, t text, k text, h bigint, m text, p text, d text)
     ORDER BY b.n;
    RETURN QUERY SELECT b.n, NULL::bigint FROM json_to_recordset(batch) AS b(n integer) ORDER BY b.n;
    RETURN;
  END IF;
  SELECT h.last_id INTO base FROM ${names.head} h;
  RETURN QUERY
  WITH b AS MATERIALIZED (
    SELECT * FROM json_to_recordset(batch) AS b(n integer, u uuid, t text, k text, h bigint, m text, p text, d text)
  ), fresh AS (
    SELECT b.* FROM b WHERE b.p IS NULL
    UNION ALL
    (SELECT DISTINCT ON (b.p) b.* FROM b
      WHERE b.p IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ${names.log} l WHERE l.dedupe_key = b.p)
      ORDER BY b.p, b.n)
  ), logged AS (
    INSERT INTO ${names.log} (id, ${events}, ts)
    SELECT base + row_number() OVER (ORDER BY f.n), f.u, f.t, f.k, f.h, f.m::json, f.p, f.d::json, clock_timestamp()
      FROM fresh f ORDER BY f.n
    RETURNING id, uid, dedupe_key
  )
  SELECT b.n, coalesce(own.id, twin.id, older.id)
    FROM b
    LEFT JOIN logged own ON own.uid = b.u
    LEFT JOIN logged twin ON twin.dedupe_key = b.p
    LEFT JOIN ${names.log} older ON older.dedupe_key = b.p
   ORDER BY b.n;
  UPDATE ${names.head} SET last_id = greatest(base, (SELECT max(l.id) FROM ${names.log} l));
END $fn$`
  ]
}
