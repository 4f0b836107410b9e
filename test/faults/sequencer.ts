/** A process that does nothing but sequence: `URL PREFIX`. */
import * as Effect from "effect/Effect"
import { database } from "../../examples/main-job/database.js"

const [url, prefix] = process.argv.slice(2) as [string, string]

const main = Effect.zipRight(Effect.sync(() => console.log(JSON.stringify("ready"))), Effect.never)

Effect.runPromise(Effect.provide(main, database(url, { prefix })))
