import { SqlClient } from "@effect/sql"
import { Effect, Layer, Schema, Stream } from "effect"
import { Delivery, EventType, Generator, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

// declare
const UserAdded = EventType.make("USR_ADD", Schema.Struct({ id: Schema.Int, email: Schema.String }))

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const generator = yield* Generator.Generator
  const pusher = yield* Pusher.Pusher
  yield* sql`CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT NOT NULL)`

  // emit: the row and the event commit together, or neither does
  const addUser = (email: string) =>
    generator.transaction(Effect.gen(function*() {
      const [user] = yield* sql<{ id: number }>`INSERT INTO users (email) VALUES (${email}) RETURNING id`
      yield* generator.emit(UserAdded, { id: user!.id, email })
      if (!email.includes("@")) yield* Effect.fail("not an address")
    }))
  yield* addUser("ada@example.org")
  yield* Effect.ignore(addUser("nobody: rolled back, no event"))

  // consume: from the first event on, acknowledged when the handler has succeeded; a real consumer runs on
  yield* pusher.subscribe("MAILER", { want: [UserAdded], register: { from: "beginning" } }).pipe(
    Delivery.handle(Effect.forEach((event) =>
      event._tag === "Known"
        ? Effect.log(`welcome, ${event.data.email}`)
        : Effect.logError(`event ${event.id} cannot be read: ${event.issue}`)
    )),
    Stream.take(1),
    Stream.runDrain
  )
})

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("example.db")))

Effect.runPromise(Effect.provide(program, Events))
