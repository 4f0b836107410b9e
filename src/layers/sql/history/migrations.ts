/**
 * The tables of a history. A text column takes whatever another dialect let into its log, byte for byte: nothing there is
 * of a JSON type or has a length.
 */
import type { Dialect } from "../Dialect.js"
import type { Schema } from "../migrate.js"
import { now } from "../migrations/sqlite.js"
import type { Names } from "../names.js"

/** The schema version that this version of the library writes. It works on the next one, too. */
export const expected = 1

export const schema = (kind: Dialect["name"], names: Names, schema: string): Schema => ({
  ledger: names.of("history_migrations"),
  lock: `evt:${schema}.${names.prefix}history`,
  steps: [{ id: 1, name: "tables", statements: tables[kind](names) }]
})

const unicode = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

const tables: Record<Dialect["name"], (names: Names) => ReadonlyArray<string>> = {
  postgres: (names) => [
    `CREATE TABLE IF NOT EXISTS ${names.of("history")} (
    generation  integer        NOT NULL,
    id          bigint         NOT NULL,
    uid         text           NOT NULL,
    type        text           NOT NULL,
    event_key   text,
    key_hash    bigint         NOT NULL,
    meta        text,
    data        text           NOT NULL,
    ts          timestamptz(3) NOT NULL,
    archived_at timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (generation, id)
  )`,
    `CREATE INDEX IF NOT EXISTS "${names.prefix}history_ts" ON ${names.of("history")} (ts, generation, id)`,
    `CREATE TABLE IF NOT EXISTS ${names.of("history_meta")} (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    stream text,
    since  bigint  NOT NULL DEFAULT 0
  )`,
    `INSERT INTO ${names.of("history_meta")} DEFAULT VALUES ON CONFLICT DO NOTHING`
  ],

  mysql: (names) => [
    `CREATE TABLE IF NOT EXISTS ${names.of("history")} (
    generation  INT                 NOT NULL,
    id          BIGINT              NOT NULL,
    uid         LONGTEXT ${unicode} NOT NULL,
    type        LONGTEXT ${unicode} NOT NULL,
    event_key   LONGTEXT ${unicode} NULL,
    key_hash    BIGINT              NOT NULL,
    meta        LONGTEXT ${unicode} NULL,
    data        LONGTEXT ${unicode} NOT NULL,
    ts          DATETIME(3)         NOT NULL,
    archived_at DATETIME(3)         NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    PRIMARY KEY (generation, id),
    KEY ts (ts, generation, id)
  ) ENGINE = InnoDB`,
    `CREATE TABLE IF NOT EXISTS ${names.of("history_meta")} (
    one    TINYINT            NOT NULL PRIMARY KEY CHECK (one = 1),
    stream VARCHAR(64) ${unicode} NULL,
    since  BIGINT             NOT NULL DEFAULT 0
  ) ENGINE = InnoDB`,
    `INSERT IGNORE INTO ${names.of("history_meta")} (one) VALUES (1)`
  ],

  sqlite: (names) => [
    `CREATE TABLE IF NOT EXISTS ${names.of("history")} (
    generation  INTEGER NOT NULL,
    id          INTEGER NOT NULL,
    uid         TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    event_key   TEXT,
    key_hash    INTEGER NOT NULL,
    meta        TEXT,
    data        TEXT    NOT NULL,
    ts          INTEGER NOT NULL,
    archived_at INTEGER NOT NULL DEFAULT (${now}),
    PRIMARY KEY (generation, id)
  )`,
    `CREATE INDEX IF NOT EXISTS ${names.of("history_ts")} ON "${names.prefix}history" (ts, generation, id)`,
    `CREATE TABLE IF NOT EXISTS ${names.of("history_meta")} (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    stream TEXT,
    since  INTEGER NOT NULL DEFAULT 0
  )`,
    `INSERT OR IGNORE INTO ${names.of("history_meta")} (one) VALUES (1)`
  ]
}
