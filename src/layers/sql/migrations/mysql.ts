/**
 * The tables of a stream on MySQL and MariaDB. DDL commits by itself there: every statement can be run again, and a step
 * is recorded after its last one.
 */
import { moveLimit } from "../Dialect.js"
import type { Names } from "../names.js"
import type { Step } from "../migrate.js"

export const steps = (names: Names): ReadonlyArray<Step> => [
  { id: 1, name: "tables", statements: tables(names) },
  { id: 2, name: "routines", statements: routines(names) },
  { id: 3, name: "administration", statements: administration(names) },
  { id: 4, name: "partitions", statements: partitions(names) }
]

const ascii = "CHARACTER SET ascii COLLATE ascii_bin"
const unicode = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

const tables = (names: Names) => [
  // UTC in a DATETIME: TIMESTAMP would end in 2038 and change with the session's time zone on the way
  `CREATE TABLE IF NOT EXISTS ${names.queue} (
    raw_id     BIGINT                  NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uid        CHAR(36) ${ascii}       NOT NULL DEFAULT (UUID()),
    type       VARCHAR(64) ${ascii}    NOT NULL,
    event_key  VARCHAR(255) ${unicode} NULL,
    key_hash   BIGINT                  NULL,
    meta       LONGTEXT ${unicode}     NULL,
    dedupe_key VARCHAR(255) ${unicode} NULL,
    data       LONGTEXT ${unicode}     NOT NULL,
    ts         DATETIME(3)             NOT NULL DEFAULT (UTC_TIMESTAMP(3))
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS ${names.log} (
    id         BIGINT                  NOT NULL PRIMARY KEY,
    uid        CHAR(36) ${ascii}       NOT NULL,
    type       VARCHAR(64) ${ascii}    NOT NULL,
    event_key  VARCHAR(255) ${unicode} NULL,
    key_hash   BIGINT                  NOT NULL,
    meta       LONGTEXT ${unicode}     NULL,
    dedupe_key VARCHAR(255) ${unicode} NULL,
    data       LONGTEXT ${unicode}     NOT NULL,
    ts         DATETIME(3)             NOT NULL,
    UNIQUE KEY dedupe_key (dedupe_key)
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS ${names.head} (
    one     TINYINT NOT NULL PRIMARY KEY CHECK (one = 1),
    last_id BIGINT  NOT NULL DEFAULT 0
  ) ENGINE = InnoDB`,
  `INSERT IGNORE INTO ${names.head} (one) VALUES (1)`,
  `CREATE TABLE IF NOT EXISTS ${names.meta} (
    one        TINYINT           NOT NULL PRIMARY KEY CHECK (one = 1),
    stream     CHAR(36) ${ascii} NOT NULL,
    generation INT               NOT NULL DEFAULT 1
  ) ENGINE = InnoDB`,
  `INSERT IGNORE INTO ${names.meta} (one, stream) VALUES (1, UUID())`,
  `CREATE TABLE IF NOT EXISTS ${names.gate} (
    one TINYINT NOT NULL PRIMARY KEY CHECK (one = 1)
  ) ENGINE = InnoDB`,
  `INSERT IGNORE INTO ${names.gate} (one) VALUES (1)`,
  `CREATE TABLE IF NOT EXISTS ${names.consumers} (
    ident         VARCHAR(64) ${ascii} NOT NULL PRIMARY KEY,
    last_evt_id   BIGINT               NOT NULL,
    epoch         BIGINT               NOT NULL DEFAULT 0,
    paused        LONGTEXT ${unicode}  NULL,
    registered_at DATETIME(3)          NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    updated_at    DATETIME(3)          NOT NULL DEFAULT (UTC_TIMESTAMP(3))
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS ${names.leases} (
    name    VARCHAR(100) ${ascii} NOT NULL PRIMARY KEY,
    owner   VARCHAR(64) ${ascii}  NOT NULL,
    expires DATETIME(3)           NOT NULL
  ) ENGINE = InnoDB`,
  `CREATE TABLE IF NOT EXISTS ${names.deadLetters} (
    ident     VARCHAR(64) ${ascii}    NOT NULL,
    id        BIGINT                  NOT NULL,
    uid       CHAR(36) ${ascii}       NOT NULL,
    type      VARCHAR(64) ${ascii}    NOT NULL,
    event_key VARCHAR(255) ${unicode} NULL,
    key_hash  BIGINT                  NOT NULL,
    meta      LONGTEXT ${unicode}     NULL,
    data      LONGTEXT ${unicode}     NOT NULL,
    ts        DATETIME(3)             NOT NULL,
    error     LONGTEXT ${unicode}     NOT NULL,
    attempts  INT                     NOT NULL,
    parked    TINYINT                 NOT NULL DEFAULT 0,
    redrive   TINYINT                 NOT NULL DEFAULT 0,
    failed_at DATETIME(3)             NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    PRIMARY KEY (ident, id)
  ) ENGINE = InnoDB`
]

const administration = (names: Names) => [
  // no IF NOT EXISTS for columns on MySQL: that it is there already is no error of a step
  `ALTER TABLE ${names.consumers} ADD COLUMN exclusive TINYINT NOT NULL DEFAULT 0`,
  // ids above after_id are of that generation, up to the after_id of the next one
  `CREATE TABLE IF NOT EXISTS ${names.generations} (
    generation INT         NOT NULL PRIMARY KEY,
    after_id   BIGINT      NOT NULL,
    since      DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3))
  ) ENGINE = InnoDB`,
  `INSERT IGNORE INTO ${names.generations} (generation, after_id) VALUES (1, 0)`,
  `CREATE TABLE IF NOT EXISTS ${names.retention} (
    one              TINYINT     NOT NULL PRIMARY KEY CHECK (one = 1),
    archive_required TINYINT     NOT NULL DEFAULT 0,
    archived_to      BIGINT      NOT NULL DEFAULT 0,
    discarded_to     BIGINT      NOT NULL DEFAULT 0,
    discarded_at     DATETIME(3) NULL
  ) ENGINE = InnoDB`,
  `INSERT IGNORE INTO ${names.retention} (one) VALUES (1)`,
  `CREATE TABLE IF NOT EXISTS ${names.audit} (
    id     BIGINT               NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at     DATETIME(3)          NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    actor  VARCHAR(255) ${unicode} NOT NULL,
    action VARCHAR(32) ${ascii} NOT NULL,
    ident  VARCHAR(64) ${ascii} NULL,
    detail LONGTEXT ${unicode}  NOT NULL
  ) ENGINE = InnoDB`
]

const partitions = (names: Names) => [
  // 0: an ordinary consumer
  `ALTER TABLE ${names.consumers} ADD COLUMN partitions SMALLINT NOT NULL DEFAULT 0`,
  `CREATE TABLE IF NOT EXISTS ${names.partitions} (
    ident       VARCHAR(64) ${ascii} NOT NULL,
    part        SMALLINT             NOT NULL,
    last_evt_id BIGINT               NOT NULL,
    epoch       BIGINT               NOT NULL,
    updated_at  DATETIME(3)          NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    PRIMARY KEY (ident, part)
  ) ENGINE = InnoDB`
]

const events = "uid, type, event_key, key_hash, meta, dedupe_key, data"

/** Our procedures begin like this: rolled back as a whole when anything fails, isolation their own. */
const transaction = `DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
  START TRANSACTION`

const document = (argument: string) =>
  `JSON_TABLE(${argument}, '$[*]' COLUMNS (
      n FOR ORDINALITY,
      u CHAR(36) ${ascii} PATH '$.u',
      t VARCHAR(64) ${ascii} PATH '$.t',
      k VARCHAR(255) ${unicode} PATH '$.k',
      h BIGINT PATH '$.h',
      m LONGTEXT ${unicode} PATH '$.m',
      p VARCHAR(255) ${unicode} PATH '$.p',
      d LONGTEXT ${unicode} PATH '$.d')) b`

const routines = (names: Names) => {
  const picked = "JSON_TABLE(picked, '$[*]' COLUMNS (raw_id BIGINT PATH '$')) p"
  const hash = `COALESCE(q.key_hash,
                      CASE WHEN q.event_key IS NULL THEN CAST(CONV(RIGHT(q.uid, 8), 16, 10) AS UNSIGNED)
                           ELSE CAST(CONV(LEFT(MD5(q.event_key), 8), 16, 10) AS UNSIGNED) END)`
  return [
    // The caller holds the head row in a READ COMMITTED transaction. The rows are picked by one plain read, which is one
    // snapshot: a locking read (SKIP LOCKED, FOR SHARE) would see newer rows after skipping older ones and invert them.
    // They are numbered before they are joined: a window over rows with LONGTEXT would go through a table on disk.
    // All that follows works on exactly those raw_ids: they are committed, and only the holder of the head deletes.
    // STRAIGHT_JOIN from their list and FORCE INDEX: a DELETE that scans the queue waits for the rows of every open
    // transaction.
    `DROP PROCEDURE IF EXISTS ${names.move}`,
    `CREATE PROCEDURE ${names.move}(IN n INT, OUT taken INT) SQL SECURITY INVOKER
BEGIN
  DECLARE base BIGINT;
  DECLARE picked LONGTEXT;
  DECLARE keyed INT;
  SELECT JSON_ARRAYAGG(t.raw_id), COUNT(*), COUNT(t.dedupe_key) INTO picked, taken, keyed
    FROM (SELECT q.raw_id, q.dedupe_key FROM ${names.queue} q ORDER BY q.raw_id LIMIT n) t;
  IF taken > 0 THEN
    SELECT last_id INTO base FROM ${names.head} WHERE one = 1;
    IF keyed = 0 THEN
      INSERT INTO ${names.log} (id, ${events}, ts)
      SELECT base + p.nth, q.uid, q.type, q.event_key, ${hash}, q.meta, q.dedupe_key, q.data, q.ts
        FROM (SELECT p.raw_id, ROW_NUMBER() OVER (ORDER BY p.raw_id) AS nth FROM ${picked}) p
             STRAIGHT_JOIN ${names.queue} q FORCE INDEX (PRIMARY) ON q.raw_id = p.raw_id;
    ELSE
      INSERT INTO ${names.log} (id, ${events}, ts)
      SELECT base + ROW_NUMBER() OVER (ORDER BY q.raw_id), q.uid, q.type, q.event_key, ${hash}, q.meta, q.dedupe_key,
             q.data, q.ts
        FROM (SELECT i.*, ROW_NUMBER() OVER (PARTITION BY COALESCE(i.dedupe_key, i.raw_id), i.dedupe_key IS NULL
                                             ORDER BY i.raw_id) AS nth
                FROM ${picked} STRAIGHT_JOIN ${names.queue} i FORCE INDEX (PRIMARY) ON i.raw_id = p.raw_id) q
       WHERE q.dedupe_key IS NULL
          OR (q.nth = 1 AND NOT EXISTS (SELECT 1 FROM ${names.log} l WHERE l.dedupe_key = q.dedupe_key))
       ORDER BY q.raw_id;
    END IF;
    UPDATE ${names.head} SET last_id = base + ROW_COUNT() WHERE one = 1;
    DELETE q FROM ${picked} STRAIGHT_JOIN ${names.queue} q FORCE INDEX (PRIMARY) ON q.raw_id = p.raw_id;
  END IF;
END`,

    // -1: somebody else holds the head. An idle call takes no lock: the probe is a SELECT of its own, because the condition
    // of an IF reads with shared locks, which waits for every open transaction that emitted.
    `DROP PROCEDURE IF EXISTS ${names.sequence}`,
    `CREATE PROCEDURE ${names.sequence}(IN n INT) SQL SECURITY INVOKER
BEGIN
  DECLARE held INT DEFAULT 0;
  DECLARE taken INT DEFAULT 0;
  DECLARE pending INT DEFAULT 0;
  SELECT 1 INTO pending FROM ${names.queue} LIMIT 1;
  IF pending = 1 THEN
    BEGIN
      ${transaction};
      SELECT one INTO held FROM ${names.head} WHERE one = 1 FOR UPDATE SKIP LOCKED;
      IF held = 0 THEN
        SET taken = -1;
      ELSE
        CALL ${names.move}(n, taken);
      END IF;
      COMMIT;
    END;
  END IF;
  SELECT taken AS taken, CAST(last_id AS CHAR) AS head FROM ${names.head} WHERE one = 1;
END`,

    // See the PostgreSQL routine of the same name. `ids` is filled where a dedupe key made the ids other than base + n.
    `DROP PROCEDURE IF EXISTS ${names.append}`,
    `CREATE PROCEDURE ${names.append}(IN batch LONGTEXT ${unicode}, IN n INT, IN deadline BIGINT) SQL SECURITY INVOKER
BEGIN
  DECLARE base BIGINT DEFAULT NULL;
  DECLARE taken INT DEFAULT ${moveLimit};
  DECLARE keyed INT;
  DECLARE total INT;
  DECLARE given INT DEFAULT 0;
  DECLARE i INT DEFAULT 0;
  DECLARE twin BIGINT;
  DECLARE ids LONGTEXT DEFAULT NULL;
  ${transaction};
  SELECT last_id INTO base FROM ${names.head} WHERE one = 1 FOR UPDATE;
  IF TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000 > deadline THEN
    SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 4999, MESSAGE_TEXT = 'evt: append came too late';
  END IF;
  CALL ${names.move}(n, taken);
  IF taken >= n THEN
    INSERT INTO ${names.queue} (${events})
    SELECT b.u, b.t, b.k, b.h, b.m, b.p, b.d FROM ${document("batch")} ORDER BY b.n;
    SET base = NULL;
  ELSE
    SELECT last_id INTO base FROM ${names.head} WHERE one = 1;
    SELECT COUNT(b.p), COUNT(*) INTO keyed, total FROM ${document("batch")};
    IF keyed = 0 THEN
      INSERT INTO ${names.log} (id, ${events}, ts)
      SELECT base + b.n, b.u, b.t, b.k, b.h, b.m, b.p, b.d, UTC_TIMESTAMP(3) FROM ${document("batch")} ORDER BY b.n;
      SET given = total;
    ELSE
      SET ids = '[]';
      WHILE i < total DO
        SET i = i + 1;
        SELECT MAX(l.id) INTO twin FROM ${document("batch")} JOIN ${names.log} l ON l.dedupe_key = b.p WHERE b.n = i;
        IF twin IS NULL THEN
          SET given = given + 1;
          SET twin = base + given;
          INSERT INTO ${names.log} (id, ${events}, ts)
          SELECT twin, b.u, b.t, b.k, b.h, b.m, b.p, b.d, UTC_TIMESTAMP(3) FROM ${document("batch")} WHERE b.n = i;
        END IF;
        SET ids = JSON_ARRAY_APPEND(ids, '$', CAST(twin AS CHAR));
      END WHILE;
    END IF;
    UPDATE ${names.head} SET last_id = base + given WHERE one = 1;
  END IF;
  COMMIT;
  SELECT CAST(base AS CHAR) AS base, ids AS ids;
END`
  ]
}
