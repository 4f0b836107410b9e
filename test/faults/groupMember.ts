/**
 * A process that is a member of the group of `C` until it is killed; SIGTERM ends its layer in good order. `URL PREFIX MODE
 * PARTITIONS MILLIS TTL`: `atLeastOnce` says what it has handled, `exactlyOnce` writes it into a table in the transaction of the
 * cursor; an event takes so many milliseconds, one of the key `slow` twenty times as long.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { database } from "../../examples/main-job/database.js"
import { EventType, Pusher } from "../../src/index.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

const [url, prefix, mode, partitions, millis, ttl] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string
]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const main = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const pusher = yield* Pusher.Pusher
  say("ready")
  const options = { want: [Keyed], partitions: Number(partitions), limit: 50 } as const
  if (mode === "exactlyOnce") {
    return yield* pusher.run("C", {
      batch: (events) => {
        const rows = events.flatMap((event) => event._tag === "Known" ? [`(${event.data.n}, '${event.data.key}')`] : [])
        say("handling")
        return Effect.zipRight(
          Effect.sleep(Number(millis) * rows.length),
          sql.unsafe(`INSERT INTO ${prefix}effects (n, event_key) VALUES ${rows.join(", ")}`)
        )
      }
    }, { ...options, exactlyOnce: true })
  }
  return yield* pusher.run("C", {
    batch: (events) =>
      Effect.gen(function*() {
        say("handling")
        const known = events.flatMap((event) => event._tag === "Known" ? [event] : [])
        const slow = known.filter(({ data }) => data.key === "slow").length
        yield* Effect.sleep(Number(millis) * (known.length + slow * 19))
        const now = Date.now()
        say({ handled: known.map(({ data }) => [data.key, data.n]), at: now, age: now - (known[0]?.ts ?? now) })
      })
  }, options)
})

const said = Logger.replace(
  Logger.defaultLogger,
  Logger.make(({ message }) => say({ log: String(message) }))
)

if (mode !== undefined) {
  const scope = Effect.runSync(Scope.make())
  const context = await Effect.runPromise(
    Layer.buildWithScope(database(url, { prefix, pusher: { leaseTtl: Number(ttl) } }), scope)
  )
  const running = Effect.runFork(main.pipe(Effect.provide(context), Effect.provide(said)))
  process.on("SIGTERM", () => {
    Effect.runPromise(Effect.zipRight(Scope.close(scope, Exit.void), Effect.exit(Fiber.interrupt(running)))).then(
      () => {
        say("ended")
        process.exit(0)
      }
    )
  })
  // an error of the run is an error of the process; interrupted, the layer has ended
  running.addObserver((exit) => {
    if (Exit.isFailure(exit) && !Exit.isInterrupted(exit)) {
      console.error(exit.cause)
      process.exit(1)
    }
  })
}
