import { Effect } from "effect"
import { Consumers } from "effect-eventstream"

// how many partitions each member has, and how far behind they are
export const owners = Effect.gen(function*() {
  const consumers = yield* Consumers.Consumers
  const info = (yield* consumers.list).find(({ component }) => component === "STATEMENTS")
  const counts = new Map<string, number>()
  for (const { owner } of info?.partitions ?? []) {
    const name = owner?.member ?? "nobody"
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return { counts, behind: info?.lag.events ?? 0 }
})
