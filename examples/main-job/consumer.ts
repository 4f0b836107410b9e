/** The consumer that is killed: says what it handled, one line an event, and acknowledges after that. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Delivery, Poller } from "../../src/index.js"
import { database } from "./database.js"
import { all } from "./events.js"
import { seen } from "./observation.js"

const [url, prefix, component] = process.argv.slice(2) as [string, string, string]

const main = Effect.gen(function*() {
  const poller = yield* Poller.Poller
  yield* poller.stream(component, { catalog: all, limit: 100 }).pipe(
    Delivery.handle((events) =>
      Effect.sync(() => {
        // written at once: a pipe is synchronous
        process.stdout.write(events.map((event) => `${JSON.stringify(seen(event))}\n`).join(""))
      })
    ),
    Stream.runDrain
  )
})

NodeRuntime.runMain(Effect.provide(main, database(url, { prefix })))
