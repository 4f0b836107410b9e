/**
 * The consumer that is killed: says what it handled, one line a batch, and acknowledges after that. After more than
 * `hangAfter` events it hangs between the two, so that the kill always comes where it hurts.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Delivery, Poller } from "../../src/index.js"
import { database } from "./database.js"
import { all } from "./events.js"
import { seen } from "./observation.js"

const [url, prefix, component, hangAfter] = process.argv.slice(2) as [string, string, string, string]

// ends with the process that started it, also where that was killed
process.stdin.resume().once("end", () => process.exit())

/** Done when the line has left this process: a write to a pipe that is full stays in memory. */
const tell = (line: string) =>
  Effect.async<void>((resume) => {
    process.stdout.write(`${line}\n`, () => resume(Effect.void))
  })

const main = Effect.gen(function*() {
  const poller = yield* Poller.Poller
  let handled = 0
  yield* poller.stream(component, { catalog: all, limit: 100 }).pipe(
    Delivery.handle((events) =>
      // told, then acknowledged: what is still in this process's memory dies with it
      // told, then acknowledged: what is still in this process's memory dies with it
      Effect.zipRight(
        tell(JSON.stringify(events.map(seen))),
        Effect.suspend(() => (handled += events.length) > Number(hangAfter) ? Effect.never : Effect.void)
      )
    ),
    Stream.runDrain
  )
})

NodeRuntime.runMain(Effect.provide(main, database(url, { prefix })))
