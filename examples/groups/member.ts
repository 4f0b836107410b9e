import { Effect } from "effect"
import { Pusher } from "effect-eventstream"
import { Booked } from "./events.js"

// every process runs the same: it joins, gets its share of the eight partitions, and gives it back when it ends
export const member = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  yield* pusher.run(
    "STATEMENTS",
    (event) =>
      event._tag === "Known"
        ? Effect.zipRight(
          Effect.sleep("5 millis"),
          Effect.sync(() => console.log(`${event.data.account} ${event.data.n}`))
        )
        : Effect.void,
    { want: [Booked], register: { from: "beginning" }, partitions: 8, limit: 20 }
  )
})
