/**
 * The settings of a server that a stream depends on: how they are read, what they should be, and what to do where they are
 * not.
 */
import type { Setting, Vitals } from "../../services/EventStore.js"
import type { Rows } from "./Database.js"

type Quote = (text: string) => string

/** What every dialect says for itself. */
export interface Server {
  readonly kind: Vitals["kind"]
  /** The server's version, as an expression. */
  readonly version: string
  readonly settings: ReadonlyArray<string>
  /** What the rows of `settings` mean. */
  readonly judge: (results: ReadonlyArray<Rows>) => ReadonlyArray<Setting>
}

/** A setting that is as it should be, or what to do about it. */
const setting = (
  name: string,
  value: string,
  bad: { readonly level: "warning" | "problem"; readonly advice: string } | undefined
): Setting => bad === undefined ? { name, value, level: "ok", advice: "" } : { name, value, ...bad }

/** The isolation of transactions that do not say one. */
const isolationOf = (name: string, value: string): Setting =>
  setting(
    name,
    value,
    /serializable/i.test(value)
      ? {
        level: "warning",
        advice:
          "Transactions of yours that name no isolation level run at this one: their COMMIT may fail and has to be" +
          " retried (EventStreamError.isRetryable). This library names its own."
      }
      : undefined
  )

export const postgres = (sequence: string, quote: Quote): Server => ({
  kind: "PostgreSQL",
  version: "current_setting('server_version')",
  settings: [
    "SELECT current_setting('default_transaction_isolation') AS isolation",
    `SELECT seqcache::text AS cache FROM pg_sequence WHERE seqrelid = to_regclass(${quote(sequence)})`
  ],
  judge: ([session, queue]) => [
    isolationOf("default_transaction_isolation", session![0].isolation),
    setting(
      "CACHE of the queue's sequence",
      queue![0]?.cache ?? "not found",
      queue![0]?.cache === "1" ? undefined : {
        level: "problem",
        advice: `Run ALTER SEQUENCE ${sequence} CACHE 1: with another value, events of one key may` +
          " get their ids in the wrong order."
      }
    )
  ]
})

/** An event of the largest size (4 MiB), every character escaped, and as much again for what is sent with it. */
const leastPacket = 16 * 1024 * 1024

const variables = [
  "transaction_isolation",
  "tx_isolation",
  "auto_increment_increment",
  "auto_increment_offset",
  "log_bin",
  "binlog_format",
  "max_allowed_packet"
]

export const mysql = (flavour: "MariaDB" | "MySQL"): Server => ({
  kind: flavour,
  version: "VERSION()",
  // variables that a version does not have are no error there
  settings: [`SHOW VARIABLES WHERE Variable_name IN (${variables.map((name) => `'${name}'`).join(", ")})`],
  judge: ([rows]) => {
    const values = new Map<string, string>(rows!.map((row) => [row.Variable_name, row.Value]))
    const value = (name: string) => values.get(name) ?? ""
    const one = (name: string) =>
      setting(
        name,
        value(name),
        value(name) === "1" ? undefined : {
          level: "problem",
          advice:
            "Set it to 1 and write through one server only: where several give numbers, events of one key may get" +
            " their ids in the wrong order."
        }
      )
    const isolation = values.has("transaction_isolation") ? "transaction_isolation" : "tx_isolation"
    return [
      isolationOf(isolation, value(isolation)),
      one("auto_increment_increment"),
      one("auto_increment_offset"),
      setting(
        "binlog_format",
        value("log_bin") === "ON" ? value("binlog_format") : "no binary log",
        value("log_bin") === "ON" && value("binlog_format") === "STATEMENT"
          ? {
            level: "problem",
            advice: "Set it to ROW or MIXED: READ COMMITTED transactions are refused with STATEMENT."
          }
          : undefined
      ),
      setting(
        "max_allowed_packet",
        value("max_allowed_packet"),
        Number(value("max_allowed_packet")) >= leastPacket ? undefined : {
          level: "warning",
          advice: `Set it to ${leastPacket} or more: large events, and many that are added together, may be refused.`
        }
      )
    ]
  }
})

export const sqlite: Server = {
  kind: "SQLite",
  version: "sqlite_version()",
  settings: ["PRAGMA journal_mode", "PRAGMA synchronous"],
  judge: ([first, second]) => {
    const { journal_mode } = first![0]
    const { synchronous } = second![0]
    return [
      setting(
        "journal_mode",
        journal_mode,
        journal_mode === "wal" ? undefined : {
          level: "warning",
          advice: "Run PRAGMA journal_mode = WAL: without it, readers and writers of the file wait for each other."
        }
      ),
      setting(
        "synchronous",
        syncs[synchronous] ?? String(synchronous),
        synchronous !== 0 ? undefined : {
          level: "problem",
          advice: "Run PRAGMA synchronous = FULL on the connections that write: a power failure may destroy the file."
        }
      )
    ]
  }
}

const syncs = ["OFF", "NORMAL (a power failure may take back the last commits, which FULL prevents)", "FULL", "EXTRA"]
