/**
 * `append`: one batch of events in one transaction of its own, and never a guess about what became of it.
 *
 * Invariant: when the answer to the write is lost, the batch is answered by what is in the database, is written again
 * only when it is certain that it is not and never will be there, or is `OutcomeUnknown`.
 *
 * Why it is certain: the write carries a deadline in the database's own time, and checks it after it got the lock on
 * the head row, which it then holds to its COMMIT. Whoever gets that lock after the deadline sees the write, or knows
 * that it will refuse to happen. So the batch is looked up by uid; if it is not there, looked up once more under the
 * lock after the deadline; if it is not there then, it may be sent again.
 *
 * Held by the test "a COMMIT whose answer is cut off" (test/faults), which doubles or loses events without this.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { NewEvent } from "../../Event.js"
import type { EventId } from "../../EventId.js"
import { OutcomeUnknown, StoreError } from "../../EventStreamError.js"
import { classify, hasCode } from "../../internal/sqlError.js"
import type { Service as EventStore } from "../../services/EventStore.js"
import type { Database } from "./Database.js"
import type { Dialect, Found } from "./Dialect.js"
import { moveLimit } from "./Dialect.js"
import { idempotent, whileBusy } from "./retry.js"

/** A write that gets its lock later than this after it was sent does not happen. */
const deadlineMillis = 5000
/** How long the database is asked what became of a batch before it is `OutcomeUnknown`. */
const lookUp = Schedule.exponential("20 millis").pipe(
  Schedule.union(Schedule.spaced("500 millis")),
  Schedule.upTo("20 seconds")
)
const attempts = 5

/** How late the database called a write: PostgreSQL's SQLSTATE and MariaDB's errno of our own routines. */
const cameTooLate = (error: SqlError) => hasCode(error, "EVT01") || hasCode(error, 4999)

export const make = (
  database: Database,
  dialect: Dialect,
  /** The largest last id seen so far. */
  head: { last: bigint }
): Effect.Effect<EventStore["append"], SqlError> =>
  Effect.gen(function*() {
    const readClock = Effect.gen(function*() {
      const before = performance.now()
      const now = yield* idempotent(database.reserved(dialect.now))
      return now - (before + performance.now()) / 2
    })
    let clock = yield* readClock
    const failed = (cause: SqlError) => new StoreError({ operation: "add", ...classify(cause), cause })

    const find = (uids: ReadonlyArray<string>, since: bigint, locked: boolean) =>
      database.reserved((conn) => dialect.find(conn, uids, { since, locked }))

    /** The ids once all are sequenced; undefined if the batch is not in the database. */
    const sequenced = (uids: ReadonlyArray<string>, found: Found): ReadonlyArray<EventId> | "waiting" | undefined => {
      if (found.size === 0) return undefined
      const ids = uids.map((uid) => found.get(uid))
      return ids.every((id) => id !== null && id !== undefined) ? ids as ReadonlyArray<EventId> : "waiting"
    }

    /** The batch is in the queue: it is sequenced until it is in the log. */
    const awaitIds = (
      events: ReadonlyArray<NewEvent>,
      since: bigint
    ): Effect.Effect<ReadonlyArray<EventId>, SqlError> =>
      Effect.gen(function*() {
        const uids = events.map((event) => event.uid)
        for (let pause = 1;; pause = Math.min(pause * 2, 50)) {
          yield* idempotent(database.reserved((conn) => dialect.sequence(conn, moveLimit)))
          const found = yield* idempotent(find(uids, since, false))
          const waiting = uids.filter((uid) => found.get(uid) === null)
          if (waiting.length === 0) return yield* resolveTwins(events, found)
          yield* Effect.sleep(pause)
        }
      })

    /** Events that were sequenced without a trace of their uid are twins: they have the id of the first of their key. */
    const resolveTwins = (events: ReadonlyArray<NewEvent>, found: Found) =>
      Effect.gen(function*() {
        const keys = events.filter((event) => !found.has(event.uid)).map((event) => event.dedupeKey!)
        const twins = keys.length === 0
          ? new Map<string, EventId>()
          : yield* idempotent(database.reserved((conn) => dialect.findByDedupeKey(conn, keys)))
        return events.map((event) => found.get(event.uid) ?? twins.get(event.dedupeKey!)!)
      })

    const resolve = (
      events: ReadonlyArray<NewEvent>,
      since: bigint,
      deadline: number,
      cause: SqlError
    ): Effect.Effect<ReadonlyArray<EventId> | "absent", OutcomeUnknown> => {
      const uids = events.map((event) => event.uid)
      const look = Effect.gen(function*() {
        const late = (yield* database.reserved(dialect.now)) > deadline
        const answer = sequenced(uids, yield* find(uids, since, late))
        if (answer === "waiting") return yield* awaitIds(events, since)
        if (answer !== undefined) return answer
        return late ? "absent" as const : yield* Effect.fail("too early" as const)
      })
      return Effect.mapError(Effect.retry(look, lookUp), () => new OutcomeUnknown({ uids, cause }))
    }

    const attempt = (
      events: ReadonlyArray<NewEvent>,
      left: number
    ): Effect.Effect<ReadonlyArray<EventId>, StoreError | OutcomeUnknown> =>
      Effect.suspend(() => {
        const since = head.last
        const deadline = Math.ceil(clock + performance.now()) + deadlineMillis
        const again = (cause: SqlError) => left > 1 ? attempt(events, left - 1) : Effect.fail(failed(cause))
        let sent = false
        const write = database.reserved((conn) => {
          sent = true
          return dialect.append(conn, events, { limit: moveLimit, deadline })
        })
        return whileBusy(write)
          .pipe(
            Effect.matchEffect({
              onSuccess: (ids) => {
                if (ids.includes(null)) return Effect.mapError(awaitIds(events, since), failed)
                for (const id of ids) if (id! > head.last) head.last = id!
                return Effect.succeed(ids as ReadonlyArray<EventId>)
              },
              onFailure: (cause): Effect.Effect<ReadonlyArray<EventId>, StoreError | OutcomeUnknown> => {
                if (cameTooLate(cause)) {
                  return Effect.mapError(readClock, failed).pipe(
                    Effect.tap((now) => {
                      clock = now
                    }),
                    Effect.zipRight(again(cause))
                  )
                }
                const { reason } = classify(cause)
                if (reason === "deadlock" || reason === "serialization") return again(cause)
                if (reason !== "connection" || !dialect.sequenced) return Effect.fail(failed(cause))
                return Effect.matchEffect(resolve(events, since, deadline, cause), {
                  // without a connection to send it on it is known well
                  onFailure: (unknown) => Effect.fail(sent ? unknown : failed(cause)),
                  onSuccess: (answer) => answer === "absent" ? again(cause) : Effect.succeed(answer)
                })
              }
            })
          )
      })

    return (events) => events.length === 0 ? Effect.succeed([]) : attempt(events, attempts)
  })
