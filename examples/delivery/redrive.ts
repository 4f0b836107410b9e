import { Effect } from "effect"
import { Consumers, EventType } from "effect-eventstream"
import { UserAdded } from "./events.js"

// an operator looks at what was given up, repairs the reason, and has it delivered again
export const repaired = Effect.gen(function*() {
  const consumers = yield* Consumers.Consumers
  const letters = yield* consumers.deadLetters("WELCOME", { catalog: EventType.catalog(UserAdded) })
  for (const { attempts, error, event } of letters) {
    yield* Effect.log(`given up: event ${event.id} after ${attempts} calls: ${error.split("\n")[0]}`)
  }
  yield* consumers.redrive("WELCOME", "all")
})
