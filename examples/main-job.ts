/**
 * The main job, end to end: concurrent transactions write business rows and events, some roll back; two reliable
 * consumers with different wants and a live one read. One consumer is killed in the middle and started again. At the
 * end everybody must have got exactly the committed events, in order.
 *
 * Runs on an SQLite file, or on DATABASE_URL=postgres://… or mysql://….
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Readline from "node:readline"
import { fileURLToPath } from "node:url"
import { Delivery, Generator, Poller } from "../src/index.js"
import { database } from "./main-job/database.js"
import { AccountChanged, all, NoteAdded } from "./main-job/events.js"
import { Observation, seen } from "./main-job/observation.js"
import { progress } from "./main-job/progress.js"

const transactions = Number(process.env.JOB_TRANSACTIONS ?? 2000)
const accounts = 50
const writers = 16
const consumerFile = fileURLToPath(new URL("./main-job/consumer.ts", import.meta.url))

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-job-"))
const url = process.env.DATABASE_URL ?? `sqlite:${Path.join(folder, "job.db")}`
const prefix = `job${Math.random().toString(36).slice(2, 8)}_`
const tables = ["accounts", "ledger", "queue", "log", "head", "meta", "gate", "consumers", "leases", "migrations"]

class Deliberate extends Error {
  readonly _tag = "Deliberate"
}

/** A transaction: an account gets its next version, and one to three events say so. */
const write = (n: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const generator = yield* Generator.Generator
    const account = yield* Random.nextIntBetween(0, accounts)
    const notes = yield* Random.nextIntBetween(0, 3)
    const rollBack = (yield* Random.next) < 0.1
    return yield* generator.transaction(
      Effect.gen(function*() {
        yield* sql.unsafe(`UPDATE ${prefix}accounts SET version = version + 1 WHERE id = ${account}`)
        const [row] = yield* sql.unsafe<{ version: number }>(
          `SELECT version FROM ${prefix}accounts WHERE id = ${account}`
        )
        yield* generator.emit(AccountChanged, { account, version: Number(row!.version), transaction: n })
        if (!url.startsWith("sqlite:")) yield* Effect.sleep(yield* Random.nextIntBetween(0, 5))
        yield* generator.emitAll(
          Array.from({ length: notes }, (_, i) => Generator.event(NoteAdded, { transaction: n, text: `note ${i} 😀` }))
        )
        yield* sql.unsafe(`INSERT INTO ${prefix}ledger (id, notes) VALUES (${n}, ${notes})`)
        if (rollBack) yield* Effect.fail(new Deliberate())
      }),
      { isolation: "read committed", retry: Schedule.recurs(10) }
    )
  }).pipe(
    Effect.as("committed" as const),
    Effect.catchTag("Deliberate", () => Effect.succeed("rolledBack" as const))
  )

/** A consumer in a process of its own; killed with it, if it is still there when the scope closes. */
const child = (component: string, observation: Observation) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const process_ = ChildProcess.spawn(
        process.execPath,
        [...process.execArgv, consumerFile, url, prefix, component],
        { stdio: ["ignore", "pipe", "inherit"] }
      )
      Readline.createInterface({ input: process_.stdout }).on("line", (line) => {
        // the last line of a killed process may be half a line
        if (line.endsWith("}")) observation.see(JSON.parse(line))
      })
      return process_
    }),
    (process_) =>
      Effect.async<void>((resume) => {
        if (process_.exitCode !== null || process_.signalCode !== null) return resume(Effect.void)
        process_.once("close", () => resume(Effect.void))
        process_.kill("SIGKILL")
      })
  )

const job = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const poller = yield* Poller.Poller
  yield* sql.unsafe(`CREATE TABLE ${prefix}accounts (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)`)
  yield* sql.unsafe(`CREATE TABLE ${prefix}ledger (id INTEGER PRIMARY KEY, notes INTEGER NOT NULL)`)
  for (let id = 0; id < accounts; id++) yield* sql.unsafe(`INSERT INTO ${prefix}accounts VALUES (${id}, 0)`)

  const audit = new Observation()
  const balance = new Observation()
  const live = new Observation()
  yield* poller.register("AUDIT")
  yield* poller.register("BALANCE")

  // in this process: reliable, one type; and live, everything
  yield* poller.stream("BALANCE", { want: [AccountChanged] }).pipe(
    Delivery.handle((events) =>
      Effect.sync(() => {
        for (const event of events) balance.see(seen(event))
      })
    ),
    Stream.runDrain,
    Effect.forkScoped
  )
  const lastId = yield* Ref.make<bigint | undefined>(undefined)
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    const from = yield* Ref.get(lastId)
    const batch = yield* poller.poll("LIVE", { catalog: all, ...(from === undefined ? {} : { lastId: from }) })
    for (const event of batch.events) live.see(seen(event))
    yield* Ref.set(lastId, batch.upTo)
    yield* Effect.sleep(20)
  })))

  let killed = 0
  const killedOnce = Effect.scoped(Effect.gen(function*() {
    yield* child("AUDIT", audit)
    yield* Effect.repeat(Effect.sleep(2), { until: () => audit.delivered > transactions / 4 })
    killed++
  }))
  yield* Effect.forkScoped(
    Effect.gen(function*() {
      yield* killedOnce
      audit.restarted()
      yield* child("AUDIT", audit)
      yield* Effect.never
    }).pipe(Effect.scoped)
  )

  const show = progress("transactions")
  let done = 0
  let committed = 0
  let rolledBack = 0
  yield* Effect.forEach(Array.from({ length: transactions }, (_, n) => n), (n) =>
    Effect.map(write(n), (end) => {
      if (end === "committed") committed++
      else rolledBack++
      show(++done, transactions)
    }), { concurrency: writers, discard: true })

  // the truth is in the business tables
  const [truth] = yield* sql.unsafe<{ changes: number; notes: number }>(
    `SELECT COUNT(*) AS changes, COALESCE(SUM(notes), 0) AS notes FROM ${prefix}ledger`
  )
  const changes = Number(truth!.changes)
  const events = changes + Number(truth!.notes)
  const complete = () => audit.ids.size >= events && balance.ids.size >= changes && live.ids.size >= events
  const waiting = progress("delivered")
  yield* Effect.sleep(20).pipe(
    Effect.tap(() =>
      waiting(Math.min(audit.ids.size + balance.ids.size + live.ids.size, 2 * events + changes), 2 * events + changes)
    ),
    Effect.repeat({ until: complete }),
    Effect.timeoutOption("30 seconds")
  )
  // what should not come would come now
  yield* Effect.sleep(300)

  const row = (consumer: string, o: Observation, expected: number) => ({
    consumer,
    expected,
    delivered: o.delivered,
    lost: expected - o.delivered,
    duplicates: o.duplicates,
    "out of order": o.outOfOrder,
    "again after kill": o.redelivered
  })
  const rows = [
    row("AUDIT (everything; killed once)", audit, events),
    row("BALANCE (one type)", balance, changes),
    row("LIVE (unregistered)", live, events)
  ]
  console.log(`\ncommitted ${committed}   rolled back ${rolledBack}   events ${events}   consumers killed ${killed}`)
  console.table(Object.fromEntries(rows.map(({ consumer, ...rest }) => [consumer, rest])))
  const wrong = committed !== changes || committed + rolledBack !== transactions || rolledBack === 0 || killed !== 1 ||
    audit.redelivered > 100 ||
    rows.some((r) => r.lost !== 0 || r.duplicates !== 0 || r["out of order"] !== 0)
  console.log(wrong ? "WRONG: see the table" : "Every consumer got exactly the committed events, in order.")
  if (wrong) yield* Effect.fail(new Error("the table is wrong"))
})

/** A database that is not ours is left as it was. */
const cleanUp = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const drop = (what: string) => Effect.ignore(sql.unsafe(`DROP ${what}`))
  for (const table of tables) yield* drop(`TABLE IF EXISTS ${prefix}${table}`)
  if (url.startsWith("postgres")) {
    for (const f of ["append(json, integer, bigint)", "sequence(integer)", "move(integer, bigint)"]) {
      yield* drop(`FUNCTION IF EXISTS ${prefix}${f}`)
    }
  } else for (const p of ["append", "sequence", "move"]) yield* drop(`PROCEDURE IF EXISTS ${prefix}${p}`)
})

const main = Effect.ensuring(Effect.scoped(job), cleanUp).pipe(
  Effect.provide(database(url, { prefix, migrate: "auto" })),
  Effect.ensuring(Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true })))
)

NodeRuntime.runMain(main)
