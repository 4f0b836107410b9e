/** A process that serves a stream until it is killed: `URL PREFIX PORT`. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { database } from "../../examples/main-job/database.js"
import * as Access from "../../src/access.js"
import * as Rpc from "../../src/rpc.js"

const [url, prefix, port] = process.argv.slice(2) as [string, string, string]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const served = Rpc.layerServer({ port: Number(port), limits: { idle: "1 second" } }).pipe(
  Layer.provide(database(url, { prefix, migrate: "auto", pusher: { leaseTtl: "2 seconds" } })),
  Layer.provide(Access.trusting({ administer: true }))
)

if (port !== undefined) {
  Effect.runPromise(Effect.scoped(Effect.zipRight(
    Layer.build(served),
    Effect.zipRight(Effect.sync(() => say("ready")), Effect.never)
  ))).catch((error) => say({ failed: String(error) }))
}
