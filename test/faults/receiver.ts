/**
 * A process that runs a consumer until it is killed. `URL PREFIX MODE`: `atLeastOnce` says what it handled after the
 * fact, `exactlyOnce` writes it into a table in the transaction of the cursor.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { database } from "../../examples/main-job/database.js"
import { EventType, Pusher } from "../../src/index.js"

// as support/stream.ts declares it, which cannot be imported outside of vitest
const Gone = EventType.make("USR_DEL", Schema.Struct({ id: Schema.Int }))

const [url, prefix, mode] = process.argv.slice(2) as [string, string, string]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const main = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pusher = yield* Pusher.Pusher
  const options = { want: [Gone], limit: 10 } as const
  say("ready")
  if (mode === "exactlyOnce") {
    return yield* pusher.run("R", (event) =>
      event._tag === "Known"
        ? sql.unsafe(`INSERT INTO ${prefix}effects (id) VALUES (${event.data.id})`)
        : Effect.void, { ...options, exactlyOnce: true })
  }
  return yield* pusher.run("R", {
    batch: (events) =>
      Effect.zipRight(
        Effect.zipRight(Effect.sync(() => say("handling")), Effect.sleep(20)),
        Effect.sync(() => say({ handled: events.flatMap((e) => e._tag === "Known" ? [e.data.id] : []) }))
      )
  }, options)
})

const said = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => say({ log: String(message) })))

if (mode !== undefined) {
  Effect.runPromise(
    main.pipe(Effect.provide(database(url, { prefix, pusher: { leaseTtl: "1 second" } })), Effect.provide(said))
  )
}
