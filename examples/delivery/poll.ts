import { Effect } from "effect"
import { Poller } from "effect-eventstream"
import { UserAdded } from "./events.js"

// run by a timer, say: takes what there is, and ends
export const nightly = Effect.gen(function*() {
  const poller = yield* Poller.Poller
  yield* poller.register("NIGHTLY", { from: "beginning" })
  let batch = yield* poller.poll("NIGHTLY", { want: [UserAdded], limit: 100 })
  while (batch.events.length > 0) {
    for (const event of batch.events) if (event._tag === "Known") yield* Effect.log(`counted: ${event.data.email}`)
    // acknowledges this batch and asks for the next one
    batch = yield* poller.poll("NIGHTLY", { want: [UserAdded], limit: 100, lastId: batch.upTo })
  }
})
