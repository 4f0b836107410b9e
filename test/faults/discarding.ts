/** A process that discards without a pause until it is killed: `URL PREFIX`. */
import * as Effect from "effect/Effect"
import { database } from "../../examples/main-job/database.js"
import { Discarder } from "../../src/index.js"

const [url, prefix] = process.argv.slice(2) as [string, string]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const main = Effect.gen(function*() {
  const discarder = yield* Discarder.Discarder
  say("ready")
  while (true) {
    const { deleted } = yield* discarder.once({ limitAtOnce: 20, retain: { for: 0 } })
    if (deleted > 0) say({ deleted })
    yield* Effect.sleep(1)
  }
})

if (prefix !== undefined) Effect.runPromise(Effect.provide(main, database(url, { prefix })))
