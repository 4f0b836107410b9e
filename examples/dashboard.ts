/** A live feed for a dashboard: from now on, without registration; a slow screen skips and says so. */
import { Effect, Fiber, Layer, Schema, Stream } from "effect"
import { EventType, Generator, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"

const Ordered = EventType.make("ORDERED", Schema.Struct({ total: Schema.Number }))

const program = Effect.gen(function*() {
  const generator = yield* Generator.Generator
  const pusher = yield* Pusher.Pusher
  yield* generator.add(Ordered, { total: 0 }) // before the dashboard was opened: not shown

  const dashboard = yield* Effect.fork(
    pusher.live([Ordered], { buffer: 1000 }).pipe(
      Stream.takeUntil((event) => event._tag === "Known" && event.data.total === 5),
      Stream.runForEach((event) =>
        event._tag === "Gap"
          ? Effect.log(`… ${event.missed} skipped`)
          : event._tag === "Known"
          ? Effect.log(`order of ${event.data.total}`)
          : Effect.void
      )
    )
  )
  yield* Effect.sleep("300 millis")
  for (const total of [1, 2, 3, 4, 5]) yield* generator.transaction(generator.emit(Ordered, { total }))
  yield* Fiber.join(dashboard)
})

const Events = Sqlite.layer({ migrate: "auto" }).pipe(Layer.provideMerge(Sqlite.client("dashboard.db")))

Effect.runPromise(Effect.provide(program, Events))
