/**
 * A process that does everything at once until it is killed: transactions with events, adds, sequencing, a reliable
 * consumer. It says what it knows: `added` and `handled` after the fact. `URL PREFIX RUN`.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { database } from "../../examples/main-job/database.js"
import { Delivery, EventType, Generator, Poller } from "../../src/index.js"

export const Done = EventType.make("DONE", Schema.Struct({ key: Schema.String }))

const [url, prefix, run] = process.argv.slice(2) as [string, string, string]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const main = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const generator = yield* Generator.Generator
  const poller = yield* Poller.Poller
  let n = 0
  const emit = Effect.suspend(() => {
    const key = `${run}-emit-${++n}`
    return generator.transaction(Effect.gen(function*() {
      yield* sql.unsafe(`INSERT INTO ${prefix}ledger VALUES ('${key}')`)
      yield* generator.emit(Done, { key })
    }))
  })
  const add = Effect.suspend(() => {
    const key = `${run}-add-${++n}`
    return Effect.map(generator.add(Done, { key }), (id) => say({ added: key, id: id.toString() }))
  })
  const consume = poller.stream("WORKER", { want: [Done], limit: 20 }).pipe(
    Delivery.handle((events) =>
      Effect.sync(() => say({ handled: events.flatMap((e) => e._tag === "Known" ? [e.data.key] : []) }))
    ),
    Stream.runDrain
  )
  say("ready")
  yield* Effect.all([Effect.forever(emit), Effect.forever(emit), Effect.forever(add), Effect.forever(add), consume], {
    concurrency: "unbounded"
  })
})

if (url !== undefined) Effect.runPromise(Effect.provide(main, database(url, { prefix })))
