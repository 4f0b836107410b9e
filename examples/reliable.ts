/** A reliable consumer: retries what fails, keeps what cannot be handled, and goes on. */
import { Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { Consumers, EventType, Generator, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }), {
  key: ({ id }) => String(id)
})

const program = Effect.gen(function*() {
  const consumers = yield* Consumers.Consumers
  const generator = yield* Generator.Generator
  const pusher = yield* Pusher.Pusher
  const emails = ["ada@example.org", "nobody", "grace@example.org"]
  yield* generator.addAll(emails.map((email, id) => Generator.event(UserAdded, { id, email })))

  const mailer = yield* Effect.fork(
    pusher.run(
      "MAILER",
      (event) =>
        event._tag !== "Known"
          ? Effect.void
          : event.data.email.includes("@")
          ? Effect.log(`welcome, ${event.data.email}`)
          : Effect.fail("not an address"),
      {
        want: [UserAdded],
        register: { from: "beginning" },
        retry: Schedule.exponential("10 millis").pipe(Schedule.intersect(Schedule.recurs(2))),
        poison: "deadLetter",
        concurrency: 4
      }
    )
  )
  // a real consumer runs on
  yield* Effect.sleep("500 millis")
  const letters = yield* consumers.deadLetters("MAILER", { catalog: EventType.catalog(UserAdded) })
  for (const { attempts, error, event } of letters) {
    yield* Effect.log(`dead letter after ${attempts} attempts: ${event.json}: ${error}`)
  }
  yield* Fiber.interrupt(mailer)
})

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("reliable.db")))

Effect.runPromise(Effect.provide(program, Events))
