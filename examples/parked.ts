/** A poison event of one key is parked with what follows it, the other keys flow on; repaired, it is redriven in order. */
import { SqlClient } from "@effect/sql"
import { Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { Consumers, EventType, Generator, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const Paid = EventType.make("PAID", Schema.Struct({ account: Schema.String, amount: Schema.Int }), {
  key: ({ account }) => account
})
const catalog = EventType.catalog(Paid)

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const consumers = yield* Consumers.Consumers
  const generator = yield* Generator.Generator
  const pusher = yield* Pusher.Pusher
  yield* sql`CREATE TABLE balances (account TEXT PRIMARY KEY, balance INTEGER NOT NULL)`
  yield* sql`INSERT INTO balances VALUES ('ada', 0), ('grace', 0)`

  // BOOKS adds what was paid to the account's balance; alan has no account yet
  const books = yield* Effect.fork(
    pusher.run(
      "BOOKS",
      (event) =>
        Effect.gen(function*() {
          if (event._tag !== "Known") return
          const { account, amount } = event.data
          const found = yield* sql`UPDATE balances SET balance = balance + ${amount} WHERE account = ${account}
            RETURNING balance`
          if (found.length === 0) return yield* Effect.fail(`${account} has no account`)
          yield* Effect.log(`booked ${amount} for ${account}`)
        }),
      {
        want: [Paid],
        register: { from: "beginning" },
        retry: Schedule.recurs(1),
        poison: "parkKey",
        exactlyOnce: true
      }
    )
  )
  const payments = [["alan", 1], ["ada", 2], ["alan", 3], ["grace", 4]] as const
  yield* generator.addAll(payments.map(([account, amount]) => Generator.event(Paid, { account, amount })))
  yield* Effect.sleep("500 millis")
  for (const { error, event } of yield* consumers.deadLetters("BOOKS", { catalog })) {
    yield* Effect.log(`parked: ${event.key}, ${event.json}: ${error.split("\n")[0]}`)
  }

  // repair the cause, and deliver again: before anything newer of that key
  yield* sql`INSERT INTO balances VALUES ('alan', 0)`
  yield* consumers.redrive("BOOKS", { key: "alan" })
  yield* generator.add(Paid, { account: "alan", amount: 5 })
  yield* Effect.sleep("2 seconds")
  yield* Effect.log("balances", yield* sql`SELECT * FROM balances ORDER BY account`)
  yield* Fiber.interrupt(books)
})

const Events = Sqlite.layer({ migrate: "auto", pusher: { leaseTtl: "3 seconds" } }).pipe(
  Layer.provideMerge(Sqlite.client("parked.db"))
)

Effect.runPromise(Effect.provide(program, Events))
