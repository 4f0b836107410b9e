/** Exactly once: what the handler writes into the stream's database commits together with its cursor, or not at all. */
import { SqlClient } from "@effect/sql"
import { Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { EventType, Generator, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const Paid = EventType.make("PAID", Schema.Struct({ account: Schema.Int, cents: Schema.Int }))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const generator = yield* Generator.Generator
  const pusher = yield* Pusher.Pusher
  yield* sql`DROP TABLE IF EXISTS balances`
  yield* sql`CREATE TABLE balances (account INTEGER PRIMARY KEY, cents INTEGER NOT NULL)`
  const count = 100
  yield* generator.addAll(Array.from({ length: count }, () => Generator.event(Paid, { account: 1, cents: 1 })))

  let crashes = 0
  const bookkeeper = yield* Effect.fork(
    pusher.run(
      "BOOKS",
      (event) =>
        event._tag !== "Known"
          ? Effect.void
          : Effect.gen(function*() {
            yield* sql`INSERT INTO balances (account, cents) VALUES (${event.data.account}, ${event.data.cents})
              ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents`
            // fails after it has written: the whole batch is rolled back and done again
            if (Math.random() < 0.02) yield* Effect.fail(`crash ${++crashes}`)
          }),
      {
        want: [Paid],
        register: { from: "beginning" },
        exactlyOnce: true,
        limit: 10,
        retry: Schedule.spaced("5 millis")
      }
    )
  )
  const [row] = yield* Effect.repeat(sql<{ cents: number }>`SELECT cents FROM balances WHERE account = 1`, {
    until: ([row]) => row !== undefined && row.cents >= count,
    schedule: Schedule.spaced("20 millis")
  }).pipe(Effect.zipRight(sql<{ cents: number }>`SELECT cents FROM balances WHERE account = 1`))
  yield* Effect.log(`${crashes} crashes, and the balance is ${row!.cents} of ${count}`)
  yield* Fiber.interrupt(bookkeeper)
})

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("exactly-once.db")))

Effect.runPromise(Effect.provide(program, Events))
