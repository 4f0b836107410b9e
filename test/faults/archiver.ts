/** A process that archives until it is killed: `ACTIVE HISTORY PREFIX`. Says how far it is after each batch. */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { EventStream } from "../../src/index.js"
import * as Mysql from "../../src/mysql.js"
import * as Pg from "../../src/pg.js"
import * as Sqlite from "../../src/sqlite.js"

const [active, history, prefix] = process.argv.slice(2) as [string, string, string]
const say = (message: unknown) => void process.stdout.write(`${JSON.stringify(message)}\n`)

const clientOf = (url: string): Layer.Layer<SqlClient.SqlClient, unknown> =>
  url.startsWith("postgres") ? Pg.client(url) : url.startsWith("mysql") ? Mysql.client(url) : Sqlite.client(url)

const main = Effect.gen(function*() {
  const { archiver } = yield* EventStream.make({
    prefix,
    pusher: { leaseTtl: "1 second" },
    history: { client: clientOf(history) }
  })
  say("ready")
  yield* Stream.runForEach(
    archiver!.progress({ limit: 50 }),
    ({ archived, upTo }) => Effect.sync(() => say({ archived, upTo: String(upTo) }))
  )
})

if (prefix !== undefined) {
  Effect.runPromise(Effect.scoped(main).pipe(Effect.provide(clientOf(active)))).catch((error) => {
    say({ failed: String(error) })
  })
}
