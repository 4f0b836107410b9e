import { Effect } from "effect"
import { Consumers } from "effect-eventstream"

// more processes than partitions: some would have nothing to do
export const more = Effect.gen(function*() {
  const consumers = yield* Consumers.Consumers
  const from = yield* consumers.repartition("STATEMENTS", 16)
  yield* Effect.log(`16 partitions from event ${from} on`)
})
