/**
 * The tables of a stream on SQLite (>= 3.35). A step is run in one transaction with its record.
 */
import type { Names } from "../names.js"
import type { Step } from "../migrate.js"

export const steps = (names: Names): ReadonlyArray<Step> => [
  { id: 1, name: "tables", statements: tables(names) },
  { id: 2, name: "routines", statements: routines(names) },
  { id: 3, name: "administration", statements: administration(names) },
  { id: 4, name: "partitions", statements: partitions(names) }
]

/** The clock, milliseconds since 1970. */
export const now = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"

const tables = (names: Names) => [
  // AUTOINCREMENT: without it ids start again when the log has been emptied (invariant 7)
  `CREATE TABLE IF NOT EXISTS ${names.log} (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    uid        TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    event_key  TEXT,
    key_hash   INTEGER NOT NULL,
    meta       TEXT,
    dedupe_key TEXT,
    data       TEXT    NOT NULL,
    ts         INTEGER NOT NULL DEFAULT (${now})
  )`,
  `CREATE UNIQUE INDEX IF NOT EXISTS ${names.of("log_dedupe_key")} ON "${names.prefix}log" (dedupe_key)
    WHERE dedupe_key IS NOT NULL`,
  `CREATE TABLE IF NOT EXISTS ${names.meta} (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    stream     TEXT    NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1
  )`,
  `INSERT OR IGNORE INTO ${names.meta} (one, stream) VALUES (1, ${uuid})`,
  `CREATE TABLE IF NOT EXISTS ${names.consumers} (
    ident         TEXT    PRIMARY KEY,
    last_evt_id   INTEGER NOT NULL,
    epoch         INTEGER NOT NULL DEFAULT 0,
    paused        TEXT,
    registered_at INTEGER NOT NULL DEFAULT (${now}),
    updated_at    INTEGER NOT NULL DEFAULT (${now})
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${names.leases} (
    name    TEXT    PRIMARY KEY,
    owner   TEXT    NOT NULL,
    expires INTEGER NOT NULL
  ) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${names.deadLetters} (
    ident     TEXT    NOT NULL,
    id        INTEGER NOT NULL,
    uid       TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    event_key TEXT,
    key_hash  INTEGER NOT NULL,
    meta      TEXT,
    data      TEXT    NOT NULL,
    ts        INTEGER NOT NULL,
    error     TEXT    NOT NULL,
    attempts  INTEGER NOT NULL,
    parked    INTEGER NOT NULL DEFAULT 0,
    redrive   INTEGER NOT NULL DEFAULT 0,
    failed_at INTEGER NOT NULL DEFAULT (${now}),
    PRIMARY KEY (ident, id)
  )`
]

const administration = (names: Names) => [
  `ALTER TABLE ${names.consumers} ADD COLUMN exclusive INTEGER NOT NULL DEFAULT 0`,
  // ids above after_id are of that generation, up to the after_id of the next one
  `CREATE TABLE IF NOT EXISTS ${names.generations} (
    generation INTEGER PRIMARY KEY,
    after_id   INTEGER NOT NULL,
    since      INTEGER NOT NULL DEFAULT (${now})
  )`,
  `INSERT OR IGNORE INTO ${names.generations} (generation, after_id) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS ${names.retention} (
    one              INTEGER PRIMARY KEY CHECK (one = 1),
    archive_required INTEGER NOT NULL DEFAULT 0,
    archived_to      INTEGER NOT NULL DEFAULT 0,
    discarded_to     INTEGER NOT NULL DEFAULT 0,
    discarded_at     INTEGER
  )`,
  `INSERT OR IGNORE INTO ${names.retention} (one) VALUES (1)`,
  `CREATE TABLE IF NOT EXISTS ${names.audit} (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL DEFAULT (${now}),
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    ident  TEXT,
    detail TEXT    NOT NULL
  )`
]

const partitions = (names: Names) => [
  // 0: an ordinary consumer
  `ALTER TABLE ${names.consumers} ADD COLUMN partitions INTEGER NOT NULL DEFAULT 0`,
  `CREATE TABLE IF NOT EXISTS ${names.partitions} (
    ident       TEXT    NOT NULL,
    part        INTEGER NOT NULL,
    last_evt_id INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL DEFAULT (${now}),
    PRIMARY KEY (ident, part)
  ) WITHOUT ROWID`
]

/** A random UUID (version 4) for rows of writers that bring none. */
const uuid = `lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-' ||
      substr('89AB', 1 + (abs(random()) % 4), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))`

/** Writers in other languages know the queue: here it is a view, and a row inserted there goes straight to the log. */
const routines = (names: Names) => [
  `CREATE VIEW IF NOT EXISTS ${names.queue} AS
    SELECT uid, type, event_key, key_hash, meta, dedupe_key, data, ts FROM "${names.prefix}log" WHERE 0`,
  `CREATE TRIGGER IF NOT EXISTS ${names.of("queue_insert")} INSTEAD OF INSERT ON "${names.prefix}queue"
   BEGIN
     INSERT INTO "${names.prefix}log" (uid, type, event_key, key_hash, meta, dedupe_key, data, ts)
     VALUES (coalesce(NEW.uid, ${uuid}), NEW.type, NEW.event_key, coalesce(NEW.key_hash, abs(random()) % 4294967296),
             NEW.meta, NEW.dedupe_key, NEW.data, coalesce(NEW.ts, ${now}))
     ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING;
   END`
]
