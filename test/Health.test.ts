import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { afterAll, beforeAll, expect, it } from "vitest"
import { Consumers, type EventId, type EventStream, Generator, type Health } from "../src/index.js"
import * as HealthOn from "../src/layers/Health.js"
import { expected } from "../src/layers/sql/migrate.js"
import * as Store from "../src/layers/sql/store.js"
import type { Position, Service as HistoryStore } from "../src/services/HistoryStore.js"
import { servers } from "./support/backends.js"
import { type Proxy, startProxy } from "./support/proxy.js"
import { Gone, onEach, services } from "./support/stream.js"

const gone = (n: number) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: i + 1 }))

const off = (prefix: string): EventStream.Options => ({ prefix, sequencer: "off" })

/** Findings of a check that ask for something. */
const bad = (findings: ReadonlyArray<Health.Finding>, check?: string) =>
  findings.filter((finding) => finding.level !== "ok" && (check === undefined || finding.check === check))

/** The clock with changes. */
const withClock = (change: (clock: Clock.Clock) => Partial<Clock.Clock>) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.clock, (clock) => {
    const same: Clock.Clock = {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanos: clock.currentTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    return Effect.withClock(effect, { ...same, ...change(clock) })
  })

const ahead = (ms: number) =>
  withClock((clock) => ({ currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + ms) }))

onEach("Health", ({ backend, db, prefix, run }) => {
  it("a stream with nothing to find is live and ready, its vitals have the figures", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, health, poller } = yield* services
        yield* poller.register("A")
        yield* generator.addAll(gone(3))
        yield* poller.poll("A", { lastId: 3 })
        yield* health.live
        expect(yield* health.ready({ unsequenced: 0, unacknowledged: 0 })).toEqual([])
        const vitals = yield* health.vitals
        expect(vitals).toMatchObject({
          schemaVersion: expected,
          generation: 1,
          head: 3n,
          discardedTo: 0n,
          unsequenced: { count: 0, oldest: undefined }
        })
        expect(vitals.stream).toMatch(/^[0-9a-f-]{36}$/)
        expect({ sqlite: ["SQLite"], postgres: ["PostgreSQL"], mysql: ["MySQL", "MariaDB"] }[backend])
          .toContain(vitals.database.kind)
        expect(vitals.database.version).toMatch(/^\d+\.\d+/)
        expect(Math.abs(vitals.now.getTime() - Date.now())).toBeLessThan(60_000)
        expect(Math.abs(vitals.clockSkew)).toBeLessThan(60_000)
        expect(vitals.consumers.map(({ consumer, cursor }) => [consumer, cursor])).toEqual([["local:A", 3n]])
        const findings = yield* health.diagnose({ unsequenced: 0, unacknowledged: 0 })
        expect(bad(findings)).toEqual([])
        expect(new Set(findings.map(({ check }) => check))).toEqual(
          new Set(["schema", "sequencer", "consumer", "settings", "clock", "leases", "history"])
        )
        expect(findings.every(({ found }) => found.endsWith("."))).toBe(true)
      }),
      { prefix: prefix() }
    )
  })

  it("nothing of it is asked within a transaction", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, health } = yield* services
        const all = [health.live, health.ready(), health.vitals, health.diagnose(), health.restored] as const
        for (const effect of all) {
          expect(yield* Effect.flip(generator.transaction(effect as Effect.Effect<unknown, unknown>)))
            .toMatchObject({ _tag: "InsideTransaction" })
        }
        expect((yield* health.vitals).generation).toBe(1)
      }),
      off(prefix())
    )
  })

  it("a consumer that is stuck is a problem, with who holds it back", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator, health, poller, pusher } = yield* services
        const stuck = health.ready({ unacknowledged: 0 })
        yield* poller.register("A")
        yield* poller.register({ user: "x@y.z", component: "B" }, { from: "beginning" })
        yield* generator.addAll(gone(2))
        yield* poller.poll({ user: "x@y.z", component: "B" }, { lastId: 2 })
        expect(yield* health.ready()).toEqual([])
        let findings = yield* stuck
        expect(findings.map(({ check, level }) => [check, level])).toEqual([["consumer", "problem"]])
        expect(findings[0]!.found).toContain("local:A has no receiver")
        expect(findings[0]!.advice).toContain("Start the receiver of local:A")
        expect(yield* health.ready({ unacknowledged: 0, except: ["A"] })).toEqual([])
        expect(yield* health.ready({ unacknowledged: 0, except: ["local:A"] })).toEqual([])
        expect(yield* health.ready({ unacknowledged: 0, except: ["B"] })).toEqual(findings.map((f) => ({
          ...f,
          found: expect.any(String)
        })))
        const receiver = yield* Effect.fork(pusher.run("A", () => Effect.never, { limit: 1 }))
        while ((yield* consumers.list)[0]!.state !== "active") yield* Effect.sleep(5)
        findings = yield* stuck
        expect(findings[0]!.found).toMatch(/local:A has an active receiver \(.+\)/)
        expect(findings[0]!.advice).toContain("its handler is slow, hangs, or fails")
        yield* Fiber.interrupt(receiver)
        yield* consumers.pause("A", "to look at it")
        findings = yield* stuck
        expect(findings[0]!.found).toContain("local:A is paused (to look at it)")
        expect(findings[0]!.advice).toContain("resume local:A")
        yield* consumers.resume("A")
        yield* poller.poll("A", { lastId: 2 })
        expect(yield* stuck).toEqual([])
      }),
      { prefix: prefix() }
    )
  })

  it("diagnose finds what is paused, given up, left behind, and off the time", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, health, poller, pusher } = yield* services
        yield* poller.register("A")
        yield* poller.register("GONE")
        yield* generator.addAll(gone(2))
        const receiver = yield* Effect.fork(
          pusher.run("A", () => Effect.fail("no"), { poison: "deadLetter", retry: Schedule.stop })
        )
        while ((yield* consumers.deadLetters("A")).length < 2) yield* Effect.sleep(5)
        yield* Fiber.interrupt(receiver)
        expect(bad(yield* health.diagnose())).toMatchObject([{
          check: "consumer",
          level: "warning",
          found: "local:A has given up 2 events."
        }])
        expect(bad(yield* health.diagnose({ except: ["A"] }))).toEqual([])
        yield* consumers.drop("A", "all")

        yield* consumers.pause("A", "why not")
        const [paused, ...others] = bad(yield* health.diagnose())
        expect(others).toEqual([])
        expect(paused).toMatchObject({ check: "consumer", level: "warning" })
        expect(paused!.found).toContain("paused (why not)")
        yield* consumers.resume("A")

        const past = backend === "sqlite" ? "0" : "'2020-01-01 00:00:00'"
        yield* Effect.promise(() => db().query(`DELETE FROM ${p}leases`))
        yield* Effect.promise(() =>
          db().query(`INSERT INTO ${p}leases (name, owner, expires)
            VALUES ('consumer:local:A', 'one', ${past}), ('consumer:local:NOBODY', 'two', ${past}),
              ('consumer:local:ZERO', '', ${past})`)
        )
        const leases = (yield* health.diagnose()).filter(({ check }) => check === "leases")
        expect(leases).toMatchObject([{ level: "warning" }, { level: "ok" }])
        expect(leases[0]!.found).toMatch(/^The lease of local:A ran out \d+ h ago, and one has neither/)
        expect(leases[1]!.found).toContain("local:NOBODY is not registered any more")
        yield* Effect.promise(() => db().query(`DELETE FROM ${p}leases`))

        for (const [ms, level] of [[5000, "warning"], [-5000, "warning"], [90_000, "problem"]] as const) {
          const [skewed, ...rest] = bad(yield* ahead(ms)(health.diagnose()))
          expect(rest).toEqual([])
          expect(skewed).toMatchObject({ check: "clock", level })
          expect(skewed!.found).toContain(ms < 0 ? "behind the database's" : "ahead of the database's")
          expect(Math.abs((yield* ahead(ms)(health.vitals)).clockSkew - ms)).toBeLessThan(2500)
        }

        yield* poller.register("ARCHIVER")
        expect(bad(yield* health.diagnose())).toEqual([])
        yield* poller.unregister("ARCHIVER")
        expect(bad(yield* health.diagnose())).toMatchObject([{ check: "history", level: "warning" }])
      }),
      { prefix: p }
    )
  })

  it("tables of another version: the next one is a warning, any other keeps it from being ready", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { health } = yield* services
        const version = (sql: string) => Effect.promise(() => db().query(sql))
        yield* version(`INSERT INTO ${p}migrations (id, name) VALUES (${expected + 1}, 'next')`)
        expect(bad(yield* health.diagnose())).toMatchObject([{ check: "schema", level: "warning" }])
        expect(yield* health.ready()).toEqual([])
        yield* version(`INSERT INTO ${p}migrations (id, name) VALUES (${expected + 2}, 'after')`)
        expect(yield* health.ready()).toMatchObject([{ check: "schema", advice: /Update/ }].map((f) => ({
          ...f,
          advice: expect.stringMatching(f.advice)
        })))
        yield* version(`DELETE FROM ${p}migrations WHERE id > 2`)
        expect(yield* health.ready()).toMatchObject([{ check: "schema", advice: "Run EventStream.migrate." }])
      }),
      off(p)
    )
  })

  it("settings that it depends on are looked at", async () => {
    const p = prefix()
    const spoil = {
      sqlite: ["PRAGMA synchronous = OFF"],
      postgres: [`ALTER SEQUENCE ${p}queue_raw_id_seq CACHE 10`],
      mysql: ["SET SESSION auto_increment_increment = 2, auto_increment_offset = 2"]
    }[backend]
    const found = {
      sqlite: ["synchronous is OFF."],
      postgres: ["CACHE of the queue's sequence is 10."],
      mysql: ["auto_increment_increment is 2.", "auto_increment_offset is 2."]
    }[backend]
    await run(
      Effect.gen(function*() {
        const { health } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* Effect.forEach(spoil, (text) => sql.unsafe(text))
        const problems = bad(yield* health.diagnose())
        expect(problems.map((finding) => finding.found)).toEqual(found)
        expect(
          problems.every(({ advice, check, level }) => check === "settings" && level === "problem" && advice !== "")
        )
          .toBe(true)
      }),
      off(p),
      { maxConnections: 1 }
    )
  })

  it("restored: a new generation leaves out a million ids, consumers go on", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, health, poller } = yield* services
        yield* poller.register("A")
        yield* generator.addAll(gone(5))
        yield* poller.poll("A", { lastId: 4 })
        expect(yield* Effect.provideService(health.restored, Consumers.Actor, "ada"))
          .toEqual({ generation: 2, head: 1_000_005n })
        expect(yield* generator.add(Gone, { id: 6 })).toBe(1_000_006n)
        const { events } = yield* poller.poll("A")
        expect(events.map(({ id }) => id)).toEqual([5n, 1_000_006n])
        yield* poller.poll("A", { lastId: 1_000_006n as EventId.EventId })
        expect(yield* health.ready({ unacknowledged: 0, unsequenced: 0 })).toEqual([])
        expect(yield* health.vitals).toMatchObject({ generation: 2, head: 1_000_006n })
        const rows = yield* Effect.promise(() =>
          db().query(`SELECT generation, after_id FROM ${p}generations ORDER BY generation`)
        )
        expect(rows.map((row) => [Number(row.generation), Number(row.after_id)])).toEqual([[1, 0], [2, 5]])
        expect(yield* consumers.audit()).toMatchObject([{ actor: "ada", action: "restored" }])
        expect(yield* health.restored).toEqual({ generation: 3, head: 2_000_006n })
      }),
      { prefix: p }
    )
  })

  it("a history that knows more than the database: restored starts after its last event", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* generator.addAll(gone(5))
        const store = yield* Store.make({ sql, reader: undefined, prefix: p, schema: undefined, migrate: "check" })
        // what the port answers is all that counts here
        const archived: Array<Position> = []
        const history = {
          last: (generation?: number) =>
            Effect.sync(() =>
              archived.findLast((position) => generation === undefined || position.generation === generation)
            )
        } satisfies Pick<HistoryStore, "last">
        const health = HealthOn.make(store, { history })
        const found = Effect.map(health.diagnose(), (findings) => bad(findings))
        expect(yield* found).toEqual([])
        archived.push({ generation: 1, id: 5n })
        expect(yield* found).toEqual([])
        archived.push({ generation: 1, id: 7n })
        const [lost, ...others] = yield* found
        expect(others).toEqual([])
        expect(lost).toMatchObject({ check: "restored", level: "problem" })
        expect(lost!.found).toContain("has event 7 of generation 1, the last one given is 5")
        expect(lost!.advice).toContain("run evt restored")
        expect(yield* health.restored).toEqual({ generation: 2, head: 1_000_007n })
        expect(yield* found).toEqual([])
        expect(yield* generator.add(Gone, { id: 8 })).toBe(1_000_008n)
        archived.push({ generation: 3, id: 9_000_000n })
        expect(yield* found).toMatchObject([{ check: "restored", level: "problem" }])
        // the database is of a time before another restoration
        expect(yield* health.restored).toEqual({ generation: 4, head: 10_000_000n })
        expect(yield* found).toEqual([])
      }),
      { prefix: p }
    )
  })
})

onEach("Health of a server", ({ backend, db, prefix, run }) => {
  let proxy: Proxy
  beforeAll(async () => {
    const { hostname, port } = new URL(db().url)
    proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
  })
  afterAll(() => proxy.stop())

  const emitted = Effect.flatMap(
    services,
    ({ generator }) =>
      generator.transaction(Effect.zipRight(generator.emit(Gone, { id: 1 }), generator.emit(Gone, { id: 2 })))
  )

  it("committed events that nobody sequences are a problem", async () => {
    await run(
      Effect.gen(function*() {
        const { health, sequencer } = yield* services
        yield* emitted
        const { now, unsequenced } = yield* health.vitals
        expect(unsequenced.count).toBe(2)
        expect(unsequenced.oldest!.getTime()).toBeLessThanOrEqual(now.getTime())
        expect(now.getTime() - unsequenced.oldest!.getTime()).toBeLessThan(60_000)
        expect(yield* health.ready()).toEqual([])
        const problems = yield* health.ready({ unsequenced: 0 })
        expect(problems).toMatchObject([{ check: "sequencer", level: "problem" }])
        expect(problems[0]!.found).toMatch(/^2 committed events wait for their ids, the oldest for \d/)
        expect(problems[0]!.advice).toContain("Nobody sequences")
        expect(bad(yield* health.diagnose({ unsequenced: 0 }), "sequencer").length).toBe(1)
        yield* sequencer.run
        expect(yield* health.ready({ unsequenced: 0 })).toEqual([])
      }),
      off(prefix())
    )
  })

  it("an old event that has its id at a second look was only committed late", async () => {
    await run(
      Effect.gen(function*() {
        const { health, sequencer } = yield* services
        yield* emitted
        let looks = 0
        const sequencing = withClock((clock) => ({
          sleep: (duration) => {
            if (Duration.toMillis(duration) !== 1500) return clock.sleep(duration)
            looks++
            return Effect.asVoid(Effect.orDie(Effect.withClock(sequencer.run, clock)))
          }
        }))
        expect(yield* sequencing(health.ready({ unsequenced: 0 }))).toEqual([])
        expect(looks).toBe(1)
      }),
      off(prefix())
    )
  })

  it("who probes is answered though no connection is free", async () => {
    await run(
      Effect.gen(function*() {
        const { health } = yield* services
        const sql = yield* SqlClient.SqlClient
        const latch = yield* Effect.makeLatch(false)
        const holder = yield* Effect.fork(sql.withTransaction(Effect.zipRight(latch.open, Effect.never)))
        yield* latch.await
        const soon = withClock((clock) => ({
          sleep: (duration) => clock.sleep(Duration.toMillis(duration) === 5000 ? Duration.millis(50) : duration)
        }))
        for (const effect of [health.live, health.ready(), health.vitals, health.diagnose()] as const) {
          expect(yield* Effect.flip(soon(effect as Effect.Effect<unknown, unknown>)))
            .toMatchObject({ _tag: "StoreError", reason: "timeout", retryable: true })
        }
        yield* Fiber.interrupt(holder)
        yield* health.live
      }),
      off(prefix()),
      { maxConnections: 1 }
    )
  })

  it("a database that cannot be reached is a typed failure, and passes", async () => {
    await run(
      Effect.gen(function*() {
        const { health } = yield* services
        yield* health.live
        proxy.accept(false)
        proxy.cutAll()
        for (const effect of [health.live, health.ready(), health.vitals, health.diagnose()] as const) {
          const error = yield* Effect.flip(effect as Effect.Effect<unknown, unknown>)
          expect(error).toMatchObject({ _tag: "StoreError", retryable: true })
          expect(["connection", "timeout"]).toContain((error as { reason: string }).reason)
        }
        proxy.accept(true)
        yield* Effect.retry(health.live, { times: 100, schedule: Schedule.spaced("50 millis") })
        expect(yield* health.ready()).toEqual([])
      }).pipe(Effect.ensuring(Effect.sync(() => proxy.accept(true)))),
      off(prefix()),
      { port: proxy.port }
    )
  })
}, { backends: servers })
