/**
 * Many writers with transactions of every kind, and a consumer that polls as hard as it can. The truth is a ledger that
 * each transaction writes in the stream's own database: what is in it has committed.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { Poller } from "../../src/index.js"
import type { Backend } from "../support/backends.js"
import { services } from "../support/stream.js"
import { Changed, createTables, write } from "./write.js"

export { Changed, createTables }

export interface Options {
  readonly backend: Backend
  readonly prefix: string
  readonly writers: number
  readonly transactions: number
  /** Milliseconds that one transaction stays open in the middle of it all; 0 for none. */
  readonly longOpen: number
}

export interface Outcome {
  readonly expected: number
  readonly lost: number
  readonly phantom: number
  readonly duplicated: number
  readonly idsBack: number
  readonly entityInverted: number
  readonly rolledBack: number
  /** Events of others that had committed 2 s before the long transaction ended and were not delivered by then. */
  readonly delayed: number
  readonly defects: ReadonlyArray<string>
}

export const run = (options: Options) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { poller } = yield* services
    const { prefix } = options
    const seen: Array<{ key: string; id: bigint; entity: number; version: number; at: number }> = []
    const defects: Array<string> = []
    const committedAt = new Map<string, number>()
    let rolledBack = 0
    yield* poller.register("CHAOS")

    let lastId: bigint | undefined
    const pollOnce = Effect.gen(function*() {
      const batch: Poller.Batch<any> = yield* poller.poll("CHAOS", {
        want: [Changed],
        limit: 200,
        ...(lastId === undefined ? {} : { lastId })
      })
      const at = Date.now()
      for (const { data, id } of batch.events) seen.push({ ...data, key: `${data.tx}/${data.n}`, id, at })
      lastId = batch.upTo ?? lastId
      return batch.events.length
    })
    // a killed connection is a typed, retryable failure; anything else ends the consumer and the test
    const survivingPoll = Effect.retry(pollOnce, {
      while: (error) => error._tag === "StoreError" && error.retryable,
      schedule: Schedule.spaced(10)
    })
    const consumer = yield* Effect.fork(Effect.forever(Effect.zipRight(survivingPoll, Effect.sleep(1))))

    const survive = (open: number) =>
      Effect.matchCause(write(options, open), {
        onSuccess: ({ at, keys }) => {
          for (const key of keys) committedAt.set(key, at)
        },
        onFailure: (cause) => {
          rolledBack++
          // the bare client dies of a lost connection, of a deadlock in a savepoint and of a failed COMMIT: not ours
          for (const defect of Cause.defects(cause)) {
            if (!(typeof defect === "object" && defect !== null && "_tag" in defect && defect._tag === "SqlError")) {
              defects.push(String(defect))
            }
          }
        }
      })

    let longEnd = 0
    const long = options.longOpen === 0
      ? Effect.void
      : Effect.zipRight(Effect.sleep(500), survive(options.longOpen)).pipe(
        Effect.tap(() => {
          longEnd = Date.now()
        })
      )
    const longFiber = yield* Effect.fork(long)
    const until = options.longOpen === 0 ? 0 : Date.now() + options.longOpen + 1500
    let written = 0
    const writer = Effect.gen(function*() {
      while (written < options.transactions || Date.now() < until) {
        written++
        yield* survive(yield* Random.nextIntBetween(0, 50))
      }
    })
    yield* Effect.all(Array.from({ length: options.writers }, () => writer), { concurrency: "unbounded" })
    yield* Fiber.join(longFiber)

    // until nothing comes any more
    let quiet = 0
    let size = -1
    while (quiet < 5) {
      yield* Effect.sleep(200)
      quiet = seen.length === size ? quiet + 1 : 0
      size = seen.length
      const exit = consumer.unsafePoll()
      if (exit !== null) yield* exit
    }
    yield* Fiber.interrupt(consumer)

    const readLedger = Effect.retry(
      sql.unsafe<{ tx: string; events: string }>(`SELECT tx, events FROM ${prefix}ledger`),
      Schedule.recurs(20)
    )
    const expected = new Set<string>()
    for (const { events, tx } of yield* readLedger) {
      for (const n of events.split(" ")) if (n !== "") expected.add(`${tx}/${n}`)
    }
    const got = new Set(seen.map((event) => event.key))
    const versions = new Map<number, number>()
    let idsBack = 0
    let entityInverted = 0
    for (const [i, event] of seen.entries()) {
      if (i > 0 && event.id <= seen[i - 1]!.id) idsBack++
      if (event.version < (versions.get(event.entity) ?? 0)) entityInverted++
      versions.set(event.entity, event.version)
    }
    const outcome: Outcome = {
      expected: expected.size,
      lost: [...expected].filter((key) => !got.has(key)).length,
      phantom: [...got].filter((key) => !expected.has(key)).length,
      duplicated: seen.length - got.size,
      idsBack,
      entityInverted,
      rolledBack,
      delayed: longEnd === 0
        ? 0
        : seen.filter((event) => (committedAt.get(event.key) ?? longEnd) < longEnd - 2000 && event.at > longEnd).length,
      defects
    }
    return outcome
  })

export const perfect = {
  lost: 0,
  phantom: 0,
  duplicated: 0,
  idsBack: 0,
  entityInverted: 0,
  delayed: 0,
  defects: []
}
