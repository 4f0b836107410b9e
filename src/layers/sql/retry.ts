/**
 * Which failures of our own statements are tried again before anybody hears of them.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { classify } from "../../internal/sqlError.js"

/** How long a lock of SQLite is waited for, as better-sqlite3 does by default, but without freezing the process. */
const busyPatience = "5 seconds"

const oftenAtFirst = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.union(Schedule.spaced("20 millis")),
  Schedule.jittered
)

/** Tries again while another process has the write lock of the file. */
export const whileBusy = <A, R>(effect: Effect.Effect<A, SqlError, R>): Effect.Effect<A, SqlError, R> =>
  Effect.retry(effect, {
    while: (error) => classify(error).reason === "busy",
    schedule: Schedule.upTo(oftenAtFirst, busyPatience)
  })

/**
 * For statements that may be sent twice: a lost conflict is tried again, and so is a dead connection that the pool
 * handed out before it noticed.
 */
export const idempotent = <A, R>(effect: Effect.Effect<A, SqlError, R>): Effect.Effect<A, SqlError, R> =>
  whileBusy(effect).pipe(
    Effect.retry({
      while: (error) => {
        const { reason } = classify(error)
        return reason === "deadlock" || reason === "serialization" || reason === "connection"
      },
      schedule: Schedule.intersect(Schedule.jittered(Schedule.exponential("5 millis", 3)), Schedule.recurs(4))
    })
  )
