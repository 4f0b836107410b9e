/** One process that does all the upkeep: archives, discards what everybody has, and says how the stream is. */
import { Effect, Layer, Schedule, Schema } from "effect"
import { Consumers, Discarder, EventType, Generator, Health, Poller } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const Paid = EventType.make("PAID", Schema.Struct({ order: Schema.Int, email: Schema.String }), {
  key: ({ email }) => email
})

const Events = Sqlite.layer({
  migrate: "auto",
  history: { client: Sqlite.client("history.db") },
  archiver: {},
  discarder: { retain: { for: "0 seconds" }, stale: { evictAfter: "30 days" } },
  shutdownTimeout: "5 seconds"
}).pipe(Layer.provideMerge(Sqlite.client("orders.db")))

const program = Effect.gen(function*() {
  const generator = yield* Generator.Generator
  const poller = yield* Poller.Poller
  const consumers = yield* Consumers.Consumers
  const discarder = yield* Discarder.Discarder
  const health = yield* Health.Health
  yield* poller.register("BOOKS")
  yield* generator.addAll([1, 2, 3, 4].map((order) => Generator.event(Paid, { order, email: "ada@example.org" })))
  yield* poller.poll("BOOKS", { lastId: 3 })

  // where everybody is; the archiver is one of them
  const behind = Effect.map(
    consumers.list,
    (all) => all.map(({ consumer, lag }) => `${consumer} ${lag.events}`).join(", ")
  )
  yield* Effect.repeat(behind, {
    until: (text) => text === "local:ARCHIVER 0, local:BOOKS 1",
    schedule: Schedule.spaced("20 millis")
  })
  yield* Effect.log(`behind: ${yield* behind}`)

  // what all of them have goes, the rest says why it stays
  const { deleted, heldBack } = yield* discarder.once({ retain: { for: "0 seconds" } })
  yield* Effect.log(
    `${deleted} discarded`,
    heldBack[0]?._tag === "Consumer" ? `held back by ${heldBack[0].consumer}` : ""
  )

  // once more from event 3 on: a mistake is repaired
  yield* consumers.reset("BOOKS", "beginning")
  yield* Effect.log(
    "again:",
    (yield* poller.poll("BOOKS", { want: [Paid] })).events.map(({ id }) => String(id)).join(" ")
  )

  // somebody asks to be forgotten, in the log, the history and the dead letters
  const erased = yield* consumers.redact({ key: "ada@example.org" })
  yield* Effect.log(`erased: ${erased.log} in the log, ${erased.history} in the history`)
  yield* Effect.log("done:", (yield* consumers.audit()).map(({ action }) => action).join(", "))
  yield* Effect.log(`not ready: ${(yield* health.ready({ unacknowledged: "1 hour" })).length}`)
})

Effect.runPromise(Effect.provide(program, Events))
