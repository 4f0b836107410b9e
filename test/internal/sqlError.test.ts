import { describe, expect, it } from "vitest"
import { SqlError } from "@effect/sql/SqlError"
import { classify } from "../../src/internal/sqlError.js"

const sql = (fields: object, message = "x") => new SqlError({ cause: Object.assign(new Error(message), fields) })

describe("What a driver's error means", () => {
  it.each([
    [sql({ code: "40001" }), "serialization", true],
    [sql({ code: "40P01" }), "deadlock", true],
    [sql({ code: "57P01" }), "connection", true],
    [sql({ code: "57014" }), "timeout", true],
    [sql({ code: "53100" }), "full", false],
    [sql({ code: "42501" }), "permission", false],
    [sql({ code: "28P01" }), "permission", false],
    [sql({ code: "08006" }), "connection", true],
    [sql({ code: "23505" }), "other", false],
    [sql({ errno: 1213, code: "ER_LOCK_DEADLOCK" }), "deadlock", true],
    [sql({ errno: 1205, code: "ER_LOCK_WAIT_TIMEOUT" }), "timeout", true],
    [sql({ errno: 1062, code: "ER_DUP_ENTRY" }), "other", false],
    [sql({ errno: 1927, code: "ER_CONNECTION_KILLED" }), "connection", true],
    [sql({ code: "PROTOCOL_CONNECTION_LOST" }), "connection", true],
    [sql({ errno: -111, code: "ECONNREFUSED" }), "connection", true],
    [sql({}, "Connection terminated unexpectedly"), "connection", true],
    [sql({}, "Client has encountered a connection error and is not queryable"), "connection", true],
    [sql({}, "Can't add new command when connection is in closed state"), "connection", true],
    [sql({ code: "SQLITE_BUSY_SNAPSHOT" }), "busy", true],
    [sql({ code: "SQLITE_FULL" }), "full", false],
    [sql({ code: "SQLITE_CONSTRAINT_UNIQUE" }), "other", false],
    [new Error("something else"), "other", false]
  ])("%s", (error, reason, retryable) => {
    expect(classify(error)).toEqual({ reason, retryable })
  })
})
