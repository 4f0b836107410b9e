import { SqlClient } from "@effect/sql"
import { Effect, Layer, Schema, Stream } from "effect"
import { Delivery, EventType, Generator, Poller } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

// declare
const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))

// emit: the row and the event commit together, or neither does
const addUser = (id: number, email: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const generator = yield* Generator.Generator
    yield* generator.transaction(Effect.gen(function*() {
      yield* sql`INSERT INTO users ${sql.insert({ id, email })}`
      yield* generator.emit(UserAdded, { id, email })
    }))
  })

// consume: from the first event on, acknowledged when the handler is done
const mailer = Effect.gen(function*() {
  const poller = yield* Poller.Poller
  return poller.stream("MAILER", { want: [UserAdded], register: { from: "beginning" } }).pipe(
    Delivery.handle((events) =>
      Effect.forEach(events, (event) =>
        event._tag === "Known"
          ? Effect.log(`welcome, ${event.data.email}`)
          : Effect.logError(`event ${event.id} cannot be read: ${event.issue}`))
    )
  )
}).pipe(Stream.unwrap)

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT)`
  yield* addUser(1, "ada@example.org")
  yield* Effect.ignore(addUser(1, "same id: rolled back, no event"))
  yield* Stream.runDrain(Stream.take(mailer, 1))
})

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("example.db")))

Effect.runPromise(Effect.provide(program, Events))
