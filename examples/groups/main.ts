/**
 * Runs everything that docs/groups.md shows, in a folder where it may make a file: three processes share a consumer, one of
 * them is killed, and the others go on with what it had.
 */
import { SqlClient } from "@effect/sql"
import { Effect, Fiber, Logger, LogLevel, Schedule } from "effect"
import { Generator, Poller } from "effect-eventstream"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"
import { balances } from "./balances.js"
import { Booked, Events } from "./events.js"
import { member } from "./member.js"
import { owners } from "./owners.js"
import { more } from "./repartition.js"

/** Starts a member, and says what it handles. */
const spawn = (onHandled: (account: string, n: number) => void) => {
  const child = ChildProcess.spawn(
    process.execPath,
    [...process.execArgv, fileURLToPath(import.meta.url), "member"],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  child.stdout.on("data", (data) => {
    for (const line of String(data).split("\n")) {
      const [, account, n] = /^(\w+) (\d+)$/.exec(line) ?? []
      if (n !== undefined) onHandled(account!, Number(n))
    }
  })
  return child
}

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (is) => is, schedule: Schedule.spaced("50 millis") })

/** So many members have all eight partitions, nearly equally many each. */
const sharedBy = (n: number) =>
  until(Effect.map(owners, ({ counts }) => {
    const shares = [...counts.values()]
    return !counts.has("nobody") && shares.length === n && Math.max(...shares) - Math.min(...shares) <= 1
  }))

const bookings = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => Generator.event(Booked, { account: `A${(from + i) % 50}`, n: from + i }))

const main = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const generator = yield* Generator.Generator
  const poller = yield* Poller.Poller
  yield* poller.register("STATEMENTS")
  const handled = new Set<number>()
  const last = new Map<string, number>()
  let overtaken = 0
  const onHandled = (account: string, n: number) => {
    // what is handled again after a crash begins before where it was
    if (!handled.has(n) && n < (last.get(account) ?? -1)) overtaken++
    handled.add(n)
    last.set(account, Math.max(n, last.get(account) ?? -1))
  }
  const processes = [spawn(onHandled), spawn(onHandled), spawn(onHandled)]
  yield* sharedBy(3)
  yield* Effect.log(`three processes have ${[...(yield* owners).counts.values()].sort().join(", ")} partitions`)

  yield* generator.addAll(bookings(0, 600))
  yield* until(Effect.sync(() => handled.size > 100))
  processes[0]!.kill("SIGKILL")
  yield* generator.addAll(bookings(600, 400))
  yield* sharedBy(2)
  yield* Effect.log(`one was killed: two have ${[...(yield* owners).counts.values()].join(", ")}`)
  yield* until(Effect.sync(() => handled.size === 1000))
  yield* Effect.log(`1000 bookings handled, ${overtaken} overtaken by a later one of their account`)

  yield* more
  yield* sharedBy(2)
  for (const process of processes) process.kill("SIGKILL")

  yield* sql`CREATE TABLE balances (account TEXT PRIMARY KEY, bookings INTEGER NOT NULL)`
  const counting = yield* Effect.fork(Logger.withMinimumLogLevel(balances, LogLevel.Warning))
  const total = Effect.map(sql<{ n: number }>`SELECT sum(bookings) AS n FROM balances`, ([row]) => row?.n ?? 0)
  yield* until(Effect.map(total, (n) => n === 1000))
  yield* Fiber.interrupt(counting)
  yield* Effect.log(`counted ${yield* total}, each once`)
})

const role: Effect.Effect<unknown, unknown, any> = process.argv[2] === "member"
  ? Logger.withMinimumLogLevel(member, LogLevel.None)
  : main

Effect.runPromise(Effect.provide(role, Events) as Effect.Effect<unknown, unknown>)
