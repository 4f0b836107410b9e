/**
 * What a driver's error means, for PostgreSQL (SQLSTATE), MySQL/MariaDB (errno) and SQLite (result code). Everything
 * that decides about retrying asks here, nowhere else.
 */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import type { StoreReason } from "../EventStreamError.js"

export interface Classified {
  readonly reason: StoreReason
  readonly retryable: boolean
}

const classified = (reason: StoreReason): Classified => ({
  reason,
  retryable: reason === "connection" || reason === "deadlock" || reason === "serialization" || reason === "busy" ||
    reason === "timeout"
})

const sqlStates: Record<string, StoreReason> = {
  "40001": "serialization",
  "40P01": "deadlock",
  "55P03": "timeout",
  "57014": "timeout",
  "25P03": "timeout",
  "57P01": "connection",
  "57P02": "connection",
  "57P03": "connection",
  "57P05": "connection",
  "53300": "connection",
  "53100": "full",
  "42501": "permission",
  "25006": "permission"
}

const errnos: Record<number, StoreReason> = {
  1213: "deadlock",
  1020: "serialization",
  1205: "timeout",
  1317: "timeout",
  1969: "timeout",
  3024: "timeout",
  1040: "connection",
  1053: "connection",
  1152: "connection",
  1158: "connection",
  1159: "connection",
  1160: "connection",
  1161: "connection",
  1184: "connection",
  1927: "connection",
  4031: "connection",
  1021: "full",
  1114: "full",
  1044: "permission",
  1045: "permission",
  1142: "permission",
  1143: "permission",
  1227: "permission",
  1290: "permission",
  1370: "permission",
  1792: "permission"
}

/** node's own and the drivers' words for a connection that is gone; pg says some of them without any code. */
const connectionCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "ENOTFOUND",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAI_AGAIN",
  "ENOENT",
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_SEQUENCE_TIMEOUT",
  "POOL_CLOSED"
])
const connectionMessage =
  /connection (terminated|ended|error|closed|lost|is closed|was killed)|not queryable|closed state|pool is closed|connect timeout|timeout exceeded when trying to connect|failed to acquire connection|connection timed out|server has gone away/i

const driverErrors = function*(error: unknown): Generator<Record<string, unknown>> {
  let current = error
  for (let depth = 0; depth < 6 && typeof current === "object" && current !== null; depth++) {
    yield current as Record<string, unknown>
    current = (current as Record<string, unknown>).cause
  }
}

/** The driver's own error inside an SqlError, or what was given. */
const codeOf = (error: unknown): Classified | undefined => {
  for (const e of driverErrors(error)) {
    const { code, errno } = e
    if (typeof errno === "number" && errno > 0) {
      const reason = errnos[errno]
      if (reason !== undefined) return classified(reason)
    }
    if (typeof code !== "string") continue
    if (connectionCodes.has(code)) return classified("connection")
    const state = sqlStates[code]
    if (state !== undefined) return classified(state)
    if (/^08...$/.test(code)) return classified("connection")
    if (/^28...$/.test(code)) return classified("permission")
    if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return classified("busy")
    if (code === "SQLITE_FULL") return classified("full")
    if (/^SQLITE_(READONLY|PERM|AUTH|CANTOPEN)/.test(code)) return classified("permission")
    if (/^[0-9A-Z]{5}$/.test(code) || code.startsWith("SQLITE_") || code.startsWith("ER_")) return classified("other")
  }
  return undefined
}

export const classify = (error: unknown): Classified => {
  const byCode = codeOf(error)
  if (byCode !== undefined) return byCode
  for (const e of driverErrors(error)) {
    if (typeof e.message === "string" && connectionMessage.test(e.message)) return classified("connection")
  }
  return classified("other")
}

/** The driver's code of an error: SQLSTATE, errno or SQLite result code. */
export const hasCode = (error: unknown, wanted: string | number): boolean => {
  for (const e of driverErrors(error)) if (e.code === wanted || e.errno === wanted) return true
  return false
}

/** The first SqlError in a cause, as a failure or as a defect: @effect/sql dies of a failed COMMIT or ROLLBACK. */
export const sqlErrorOf = (cause: Cause.Cause<unknown>): Option.Option<unknown> => {
  const isSqlError = (u: unknown) => typeof u === "object" && u !== null && "_tag" in u && u._tag === "SqlError"
  for (const failure of Cause.failures(cause)) if (isSqlError(failure)) return Option.some(failure)
  for (const defect of Cause.defects(cause)) if (isSqlError(defect)) return Option.some(defect)
  return Option.none()
}
