/**
 * The main job, end to end: concurrent transactions write business rows and events, some roll back; two reliable
 * consumers with different wants and a live one read. One consumer is killed in the middle and started again. At the
 * end everybody must have got exactly the committed events, in order.
 *
 * Runs on an SQLite file, or on DATABASE_URL=postgres://… or mysql://….
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { Delivery, type EventId, Generator, Poller } from "../src/index.js"
import * as Child from "./main-job/child.js"
import { cleanUp, database } from "./main-job/database.js"
import { AccountChanged, all, NoteAdded } from "./main-job/events.js"
import { Observation, seen } from "./main-job/observation.js"
import { progress } from "./main-job/progress.js"

const transactions = Number(process.env.JOB_TRANSACTIONS ?? 2000)
const accounts = 50
const writers = 16

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-job-"))
const url = process.env.DATABASE_URL ?? `sqlite:${Path.join(folder, "job.db")}`
const prefix = `job_${Math.random().toString(36).slice(2, 8)}_`

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
    // without a pause SQLite, which is synchronous, leaves this process no time to hear of its consumers
    yield* Effect.sleep(yield* Random.nextIntBetween(0, 5))
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

/** Reliable, one type, in this process. */
const balanced = (observation: Observation) =>
  Effect.flatMap(Poller.Poller, (poller) =>
    poller.stream("BALANCE", { want: [AccountChanged] }).pipe(
      Delivery.handle((events) => Effect.sync(() => observation.see(events.map(seen)))),
      Stream.runDrain
    ))

/** Unregistered, everything, by hand: the position is the caller's own. */
const live = (observation: Observation) =>
  Effect.flatMap(Poller.Poller, (poller) => {
    const from = (lastId: EventId.EventId | undefined): Effect.Effect<never, Poller.PollError> =>
      poller.poll("LIVE", { catalog: all, lastId }).pipe(
        Effect.tap((batch) => Effect.sync(() => observation.see(batch.events.map(seen)))),
        Effect.delay("20 millis"),
        Effect.flatMap((batch) => from(batch.upTo))
      )
    return from(undefined)
  })

/** Reliable, everything, in a process of its own that is killed in the middle and started again. */
const audited = (observation: Observation, killed: () => void) => {
  const run = (killAfter: number) => Effect.scoped(Child.run([url, prefix, "AUDIT"], observation, killAfter))
  return Effect.gen(function*() {
    if ((yield* run(transactions / 4)) !== "SIGKILL") yield* Effect.fail(new Error("AUDIT ended by itself"))
    killed()
    observation.restarted()
    yield* run(Infinity)
    yield* Effect.fail(new Error("AUDIT ended by itself"))
  })
}

interface Counts {
  committed: number
  rolledBack: number
}

/** All transactions, then what the business tables say: how many notes each committed transaction wrote. */
const written = (counts: Counts) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const show = progress("transactions")
    yield* Effect.forEach(Array.from({ length: transactions }, (_, n) => n), (n) =>
      Effect.map(write(n), (end) => {
        counts[end]++
        show(counts.committed + counts.rolledBack, transactions)
      }), { concurrency: writers, discard: true })
    const rows = yield* sql.unsafe<{ id: number; notes: number }>(`SELECT id, notes FROM ${prefix}ledger`)
    return rows.map(({ id, notes }) => [Number(id), Number(notes)] as const)
  })

const job = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const poller = yield* Poller.Poller
  yield* sql.unsafe(`CREATE TABLE ${prefix}accounts (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)`)
  yield* sql.unsafe(`CREATE TABLE ${prefix}ledger (id INTEGER PRIMARY KEY, notes INTEGER NOT NULL)`)
  for (let id = 0; id < accounts; id++) yield* sql.unsafe(`INSERT INTO ${prefix}accounts VALUES (${id}, 0)`)
  yield* poller.register("AUDIT")
  yield* poller.register("BALANCE")

  const audit = new Observation()
  const balance = new Observation()
  const lives = new Observation()
  const counts: Counts = { committed: 0, rolledBack: 0 }
  let killed = 0

  const judged = Effect.gen(function*() {
    const ledger = yield* written(counts)
    const changes = new Map(ledger.map(([id]) => [id, 1]))
    const events = new Map(ledger.map(([id, notes]) => [id, 1 + notes]))
    const consumers = [
      { name: "AUDIT (everything; killed once)", saw: audit, committed: events },
      { name: "BALANCE (one type)", saw: balance, committed: changes },
      { name: "LIVE (unregistered)", saw: lives, committed: events }
    ]
    const compare = () => consumers.map(({ committed, name, saw }) => ({ name, saw, ...saw.compare(committed) }))

    const show = progress("delivered")
    yield* Effect.sleep(50).pipe(
      Effect.zipRight(Effect.sync(compare)),
      Effect.tap((all) => {
        const expected = all.reduce((sum, one) => sum + one.expected, 0)
        show(expected - all.reduce((sum, one) => sum + one.lost, 0), expected)
      }),
      Effect.repeat({ until: (all) => all.every(({ lost }) => lost === 0) && killed === 1 }),
      Effect.timeoutOption("30 seconds")
    )
    // what should not come would come now
    yield* Effect.sleep(300)

    const rows = compare()
    const { committed, rolledBack } = counts
    console.log(
      `\ncommitted ${committed}   rolled back ${rolledBack}   events ${rows[0]!.expected}   consumers killed ${killed}`
    )
    console.table(Object.fromEntries(rows.map(({ expected, lost, name, phantom, saw }) => [name, {
      expected,
      delivered: saw.delivered,
      lost,
      "not committed": phantom,
      duplicates: saw.duplicates,
      "out of order": saw.outOfOrder,
      "after the kill": saw.sinceRestart ?? "",
      "redelivered after the kill": saw.redelivered
    }])))
    const right = committed === ledger.length && committed + rolledBack === transactions && rolledBack > 0 &&
      killed === 1 && audit.redelivered > 0 && (audit.sinceRestart ?? 0) > 0 &&
      rows.every(({ lost, phantom, saw }) => lost + phantom + saw.duplicates + saw.outOfOrder === 0) &&
      rows.every(({ saw }) => saw === audit || saw.redelivered === 0)
    console.log(right ? "Every consumer got exactly the committed events, in order." : "WRONG: see the table")
    if (!right) yield* Effect.fail(new Error("the table is wrong"))
  })

  // the consumers never end: who does has failed, and the job with it
  yield* Effect.raceFirst(
    judged,
    Effect.all([balanced(balance), live(lives), audited(audit, () => killed++)], {
      concurrency: "unbounded",
      discard: true
    })
  )
})

const main = job.pipe(
  Effect.provide(database(url, { prefix, migrate: "auto" })),
  Effect.ensuring(Effect.ignore(cleanUp(url, prefix))),
  Effect.ensuring(Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true })))
)

NodeRuntime.runMain(main, {
  // interrupted, the job has shown nothing
  teardown: (exit, end) => end(Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1)
})
