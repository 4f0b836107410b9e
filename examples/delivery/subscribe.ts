import { Effect, Stream } from "effect"
import { Delivery, Pusher } from "effect-eventstream"
import { UserAdded } from "./events.js"

export const indexer = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.subscribe("INDEXER", { want: [UserAdded], register: { from: "beginning" }, limit: 100 }).pipe(
    Delivery.handle((events) => Effect.log(`indexed: ${events.length}`)),
    Stream.runDrain
  )
})
