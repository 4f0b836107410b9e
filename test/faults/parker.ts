/**
 * A process that runs a consumer with parked keys until it is killed. `URL PREFIX MODE`: it fails on the events that are
 * listed in the table of what is broken, and writes what it handled into a table: `atLeastOnce` by itself, `exactlyOnce` in
 * the transaction of the cursor.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { database } from "../../examples/main-job/database.js"
import { EventType, Pusher } from "../../src/index.js"

const Step = EventType.make("STEP", Schema.Struct({ key: Schema.String, n: Schema.Int }), {
  key: ({ key }) => key
})

const [url, prefix, mode] = process.argv.slice(2) as [string, string, string]

const main = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pusher = yield* Pusher.Pusher
  process.stdout.write(`"ready"\n`)
  return yield* pusher.run("R", (event) =>
    Effect.gen(function*() {
      if (event._tag !== "Known") return
      const { key, n } = event.data
      const broken = yield* sql.unsafe(`SELECT n FROM ${prefix}broken WHERE k = '${key}' AND n = ${n}`)
      if (broken.length > 0) return yield* Effect.fail("broken")
      yield* sql.unsafe(`INSERT INTO ${prefix}effects (k, n) VALUES ('${key}', ${n})`)
    }), {
    want: [Step],
    limit: 10,
    retry: Schedule.stop,
    poison: "parkKey",
    maxParked: 100_000,
    exactlyOnce: mode === "exactlyOnce"
  })
})

if (mode !== undefined) {
  Effect.runPromise(
    main.pipe(
      Effect.provide(database(url, { prefix, pusher: { leaseTtl: "1 second" } })),
      Effect.provide(Logger.remove(Logger.defaultLogger))
    )
  )
}
