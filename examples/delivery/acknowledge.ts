import { Effect, Stream } from "effect"
import { Pusher } from "effect-eventstream"

// everything, whatever its type, copied in chunks of batches
export const copier = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.subscribe("COPIER", { register: { from: "beginning" }, limit: 10, maxInFlight: 20 }).pipe(
    Stream.groupedWithin(20, "100 millis"),
    Stream.runForEach((deliveries) =>
      Effect.gen(function*() {
        const all = [...deliveries]
        yield* Effect.log(`copied: ${all.flatMap(({ batch }) => batch.events).length}`)
        // the last one acknowledges all before it
        yield* all[all.length - 1]!.ack
      })
    )
  )
})
