/**
 * Every event for all time in a second database: what is in the stream is archived, compared, and asked for by time, type
 * and key.
 */
import { Effect, Layer, Schema, Stream } from "effect"
import { Archiver, EventType, Generator, History } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const Paid = EventType.make("PAID", Schema.Struct({ order: Schema.Int, cents: Schema.Int }), {
  key: ({ order }) => `order-${order}`
})

const Events = Sqlite.layer({
  migrate: "auto",
  // built for the history alone; any SqlClient of any of the databases will do
  history: { client: Sqlite.client("warehouse.db") }
}).pipe(Layer.provideMerge(Sqlite.client("shop.db")))

const program = Effect.gen(function*() {
  const generator = yield* Generator.Generator
  const archiver = yield* Archiver.Archiver
  const history = yield* History.History
  yield* generator.addAll([1, 2, 3].map((order) => Generator.event(Paid, { order, cents: order * 100 })))

  // a service runs `archiver.run()` in the background; a nightly job is content with this
  const { archived, behind } = yield* archiver.once()
  yield* Effect.log(`${archived} archived, ${behind} left`)
  yield* Effect.log(`${yield* archiver.verify} are the same in both`)

  const sinceYesterday = new Date(Date.now() - 24 * 3600 * 1000)
  yield* history.query({ want: [Paid], key: "order-2", since: sinceYesterday }).pipe(
    Stream.runForEach((event) =>
      event._tag === "Known" ? Effect.log(`order ${event.data.order} paid ${event.data.cents}`) : Effect.void
    )
  )
  yield* history.ndjson().pipe(Stream.runForEach((line) => Effect.sync(() => process.stdout.write(line))))
})

Effect.runPromise(Effect.provide(program, Events))
