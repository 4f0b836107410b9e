/** A stream that is served, and a consumer of it elsewhere: the program is the same, its layer is another one. */
import { Effect, Fiber, Layer, Redacted, Schema } from "effect"
import { EventType, Generator, Pusher } from "effect-eventstream"
import * as Access from "effect-eventstream/access"
import * as Rpc from "effect-eventstream/rpc"
import * as Sqlite from "effect-eventstream/sqlite"

const Paid = EventType.make("PAID", Schema.Struct({ order: Schema.Int, cents: Schema.Int }))

/** Nothing in it says where the stream is. */
const shipping = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "SHIPPING",
    (event) => event._tag === "Known" ? Effect.log(`ships order ${event.data.order}`) : Effect.void,
    { want: [Paid], register: { from: "beginning" } }
  )
})

const program = Effect.gen(function*() {
  // shown once to who is to use it; the server keeps the hash
  const { hash, token } = yield* Access.makeToken

  const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provide(Sqlite.client("remote.db")))
  const Users = Access.accounts([{ user: "shop", token: hash, rights: { emit: ["PAID"] } }])
  const Server = Rpc.layerServer({ port: 28080 }).pipe(Layer.provide([Events, Users]))

  const Remote = Rpc.layer({ url: "ws://127.0.0.1:28080/rpc", credentials: { token: Redacted.make(token) } })

  yield* Effect.gen(function*() {
    const consumer = yield* Effect.fork(shipping)
    const generator = yield* Generator.Generator
    yield* generator.add(Paid, { order: 1, cents: 500 })
    yield* generator.add(Paid, { order: 2, cents: 700 })
    yield* Effect.sleep("1 second")
    yield* Fiber.interrupt(consumer)
  }).pipe(Effect.provide(Remote), Effect.provide(Server))
})

Effect.runPromise(program)
