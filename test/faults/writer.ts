/** One of many processes that write: `URL PREFIX TRANSACTIONS`; ends when it has written them. */
import * as Effect from "effect/Effect"
import { database } from "../../examples/main-job/database.js"
import * as Chaos from "./write.js"

const [url, prefix, count] = process.argv.slice(2) as [string, string, string]

const one = Effect.ignore(Effect.sandbox(Chaos.write({ backend: "sqlite", prefix }, 0)))

Effect.runPromise(
  Effect.provide(Effect.replicateEffect(one, Number(count), { discard: true }), database(url, { prefix }))
)
