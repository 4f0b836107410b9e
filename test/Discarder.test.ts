/** What may be deleted, who holds it back, and what is never deleted (invariants 6 and 7). */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import { expect, it } from "vitest"
import { Generator } from "../src/index.js"
import { servers } from "./support/backends.js"
import { Gone, onEach, services } from "./support/stream.js"
import { Mysql, Pg } from "./support/servers.js"

const never = Schedule.recurs(0)
const recurring = Schedule.spaced("20 millis")

/** Locks all rows of a table in a transaction of the bare driver; what is returned ends it. */
const holdRow = async (url: string, table: string): Promise<() => Promise<void>> => {
  const statement = `SELECT * FROM ${table} FOR UPDATE`
  if (url.startsWith("postgres")) {
    const client = new Pg.Client({ connectionString: url })
    await client.connect()
    await client.query("BEGIN")
    await client.query(statement)
    return () => client.end()
  }
  const connection = await Mysql.createConnection({ uri: url })
  await connection.query("START TRANSACTION")
  await connection.query(statement)
  return () => connection.end()
}

/** Keeps nothing for its age. */
const now = { retain: { for: 0 } } as const

onEach("Discarder", ({ backend, db, prefix, run }) => {
  /** A stream of its own, with `count` events in the log. */
  const on = <A, E>(
    count: number,
    body: (
      tools: Effect.Effect.Success<typeof services> & {
        readonly query: (text: (table: (name: string) => string) => string) => Effect.Effect<ReadonlyArray<any>>
        readonly fill: (count: number) => Effect.Effect<void>
        readonly ids: Effect.Effect<ReadonlyArray<number>>
      }
    ) => Effect.Effect<A, E>
  ) => {
    const p = prefix()
    return run(
      Effect.gen(function*() {
        const tools = yield* services
        const query = (text: (table: (name: string) => string) => string) =>
          Effect.promise(() => db().query(text((name) => `${p}${name}`)))
        const fill = (count: number) =>
          Effect.orDie(Effect.asVoid(
            tools.generator.addAll(Array.from({ length: count }, (_, id) => Generator.event(Gone, { id })))
          ))
        if (count > 0) yield* fill(count)
        return yield* body({
          ...tools,
          query,
          fill,
          ids: Effect.map(
            query((t) => `SELECT id FROM ${t("log")} ORDER BY id`),
            (rows) => rows.map((r) => Number(r.id))
          )
        })
      }),
      { prefix: p }
    )
  }
  const time = (at: number) =>
    backend === "sqlite"
      ? `${at}`
      : backend === "postgres"
      ? `to_timestamp(${at} / 1000.0)`
      : `TIMESTAMPADD(MICROSECOND, ${at} * 1000, '1970-01-01')`

  it("only what every registered consumer has acknowledged goes", () =>
    on(10, ({ discarder, ids, poller, query }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.register("B")
        yield* poller.poll("A", { lastId: 7 })
        const nothing = yield* discarder.once(now)
        expect(nothing).toMatchObject({ deleted: 0, discardedTo: undefined, left: 10, evicted: [] })
        expect(nothing.heldBack).toEqual([
          { _tag: "Consumer", consumer: "local:B", cursor: 0n, since: expect.any(Date) }
        ])
        expect(Math.abs((nothing.heldBack[0] as any).since.getTime() - Date.now())).toBeLessThan(60_000)
        expect(yield* query((t) => `SELECT discarded_at FROM ${t("retention")}`)).toEqual([{ discarded_at: null }])
        yield* poller.poll("B", { lastId: 4 })
        expect(yield* discarder.once(now)).toMatchObject({
          deleted: 4,
          discardedTo: 4n,
          left: 6,
          heldBack: [{ _tag: "Consumer", consumer: "local:B", cursor: 4n }]
        })
        expect(yield* ids).toEqual([5, 6, 7, 8, 9, 10])
        yield* poller.poll("B", { lastId: 7 })
        const both = yield* discarder.once(now)
        expect(both).toMatchObject({ deleted: 3, discardedTo: 7n, left: 3 })
        expect(both.heldBack.map((held) => held._tag === "Consumer" ? held.consumer : held._tag)).toEqual([
          "local:A",
          "local:B"
        ])
        const [row] = yield* query((t) => `SELECT discarded_to, discarded_at FROM ${t("retention")}`)
        expect(Number(row.discarded_to)).toBe(7)
        expect(row.discarded_at).not.toBeNull()
        yield* poller.unregister("A")
        yield* poller.poll("B", { lastId: 10 })
        expect(yield* discarder.once(now)).toMatchObject({ deleted: 3, discardedTo: 10n, left: 0, heldBack: [] })
        expect(yield* ids).toEqual([])
      })))

  it("in batches of at most limitAtOnce, the lowest ids first", () =>
    on(25, ({ discarder, ids, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 23 })
        expect(yield* discarder.once({ ...now, limitAtOnce: 10 })).toMatchObject({ deleted: 23, discardedTo: 23n })
        expect(yield* ids).toEqual([24, 25])
      })))

  it("nobody registered and nothing said: everything stays; with a retain that decides", () =>
    on(10, ({ discarder, ids, query }) =>
      Effect.gen(function*() {
        yield* query((t) => `UPDATE ${t("log")} SET ts = ${time(Date.now() - 3_600_000)}`)
        const kept = { deleted: 0, left: 10, heldBack: [{ _tag: "Nobody" }] }
        expect(yield* discarder.once()).toMatchObject(kept)
        expect(yield* discarder.once({ retain: {} })).toMatchObject(kept)
        expect(yield* discarder.once({ requireArchived: "never" })).toMatchObject(kept)
        expect(yield* discarder.once({ retain: { for: "2 hours" } })).toMatchObject({
          deleted: 0,
          heldBack: [{ _tag: "Retained" }]
        })
        expect(yield* discarder.once({ retain: { events: 3 } })).toMatchObject({
          deleted: 7,
          left: 3,
          heldBack: [{ _tag: "Retained" }]
        })
        expect(yield* ids).toEqual([8, 9, 10])
        expect(yield* discarder.once({ retain: { for: "30 minutes" } })).toMatchObject({ deleted: 3, left: 0 })
      })))

  it("young events stay, for a minute by default, and so does what comes after one", () =>
    on(6, ({ discarder, ids, poller, query }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 6 })
        expect(yield* discarder.once()).toMatchObject({ deleted: 0, heldBack: [{ _tag: "Retained" }] })
        const old = time(Date.now() - 70_000)
        yield* query((t) => `UPDATE ${t("log")} SET ts = ${old} WHERE id IN (1, 2, 4, 5)`)
        expect(yield* discarder.once({ retain: { for: "2 minutes" } })).toMatchObject({ deleted: 0 })
        // more than one batch
        expect(yield* discarder.once({ limitAtOnce: 1 })).toMatchObject({
          deleted: 2,
          discardedTo: 2n,
          left: 4,
          heldBack: [{ _tag: "Retained" }]
        })
        expect(yield* ids).toEqual([3, 4, 5, 6])
        yield* query((t) => `UPDATE ${t("log")} SET ts = ${old} WHERE id = 3`)
        expect(yield* discarder.once()).toMatchObject({ deleted: 3 })
        expect(yield* ids).toEqual([6])
      })))

  it("the newest events stay, however old they are", () =>
    on(10, ({ discarder, fill, ids, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 10 })
        const retain = { for: 0, events: 4 }
        expect(yield* discarder.once({ retain })).toMatchObject({ deleted: 6, heldBack: [{ _tag: "Retained" }] })
        expect(yield* ids).toEqual([7, 8, 9, 10])
        yield* fill(1)
        expect(yield* discarder.once({ retain })).toMatchObject({ deleted: 1 })
        expect(yield* discarder.once({ retain: { for: 0, events: 1000 } })).toMatchObject({ deleted: 0 })
      })))

  it("where an archive is required, only what is in it goes", () =>
    on(10, ({ discarder, ids, poller, query }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 10 })
        const archive = (archivedTo: bigint) => [{ _tag: "Archive", archivedTo }]
        expect(yield* discarder.once({ ...now, requireArchived: "always" })).toMatchObject({
          deleted: 0,
          heldBack: archive(0n)
        })
        yield* query((t) => `UPDATE ${t("retention")} SET archive_required = 1, archived_to = 3`)
        expect(yield* discarder.once(now)).toMatchObject({ deleted: 3, heldBack: archive(3n) })
        // a component that only sounds like it is no archiver, whoever the user is
        yield* poller.register({ user: "x", component: "archiver" }, { from: { after: 10 } })
        yield* poller.register({ user: "ARCHIVER", component: "XARCHIVER" }, { from: { after: 10 } })
        yield* poller.register({ user: "x", component: "ARCHIVER2" }, { from: { after: 10 } })
        expect(yield* discarder.once(now)).toMatchObject({ deleted: 0, heldBack: archive(3n) })
        // registered, it is a consumer like all others, and archived_to is of the past
        yield* poller.register({ user: "u", component: "ARCHIVER" }, { from: { after: 5 } })
        expect(yield* discarder.once(now)).toMatchObject({
          deleted: 2,
          heldBack: [{ _tag: "Consumer", consumer: "u:ARCHIVER", cursor: 5n }]
        })
        expect(yield* discarder.once({ ...now, requireArchived: "never" })).toMatchObject({ deleted: 0 })
        yield* poller.unregister({ user: "u", component: "ARCHIVER" })
        yield* query((t) => `UPDATE ${t("retention")} SET archived_to = 6`)
        expect(yield* discarder.once(now)).toMatchObject({ deleted: 1, heldBack: archive(6n) })
        expect(yield* discarder.once({ ...now, requireArchived: "never" })).toMatchObject({ deleted: 4, heldBack: [] })
        expect(yield* ids).toEqual([])
      })))

  it("a consumer that has gone is warned of, or evicted, recorded, and its dead letters stay", () =>
    on(10, ({ discarder, ids, poller, pusher, query }) =>
      Effect.gen(function*() {
        const hourAgo = Date.now() - 3_600_000
        for (const name of ["GONE", "IDLE", "SLOW", "ARCHIVER", "GOOD"]) yield* poller.register(name)
        yield* Effect.ignore(
          pusher.run("GONE", () => Effect.fail("no"), { want: [Gone], limit: 2, retry: never, poison: "deadLetter" })
            .pipe(
              Effect.timeout("1 second")
            )
        )
        const [dead] = yield* query((t) => `SELECT COUNT(*) AS n FROM ${t("dead_letters")}`)
        expect(Number(dead.n)).toBeGreaterThan(0)
        yield* query((t) => `UPDATE ${t("consumers")} SET last_evt_id = 2, updated_at = ${time(hourAgo)}`)
        yield* query((t) => `UPDATE ${t("log")} SET ts = ${time(hourAgo - 1000)} WHERE id <= 8`)
        // what waits for it is young
        yield* query((t) => `UPDATE ${t("consumers")} SET last_evt_id = 8 WHERE ident = 'local:IDLE'`)
        // moved lately
        yield* poller.poll("SLOW", { lastId: 3 })
        yield* poller.poll("GOOD", { lastId: 10 })
        yield* query((t) =>
          `INSERT INTO ${t("leases")} (name, owner, expires)
          SELECT 'consumer:local:IDLE', 'x', ${time(hourAgo)} ${backend === "mysql" ? "FROM DUAL" : ""}`
        )
        expect(yield* discarder.once(now)).toMatchObject({ deleted: 2, evicted: [] })
        expect(yield* discarder.once({ ...now, stale: { evictAfter: "2 hours" } })).toMatchObject({ evicted: [] })
        const report = yield* discarder.once({ ...now, stale: { evictAfter: "30 minutes" } })
        expect(report.evicted).toEqual(["local:GONE"])
        // never the archiver
        expect(report.heldBack).toMatchObject([{ _tag: "Consumer", consumer: "local:ARCHIVER", cursor: 2n }])
        expect((yield* query((t) => `SELECT ident FROM ${t("consumers")} ORDER BY ident`)).map((r) => r.ident)).toEqual(
          ["local:ARCHIVER", "local:GOOD", "local:IDLE", "local:SLOW"]
        )
        expect((yield* query((t) => `SELECT name FROM ${t("leases")}`)).map((r) => r.name)).toEqual([
          "consumer:local:IDLE"
        ])
        const [audit, ...more] = yield* query((t) => `SELECT actor, action, ident, detail FROM ${t("audit")}`)
        expect(more).toEqual([])
        expect(audit).toMatchObject({ actor: "discarder", action: "evict", ident: "local:GONE" })
        expect(JSON.parse(audit.detail)).toEqual({ cursor: "2", since: new Date(hourAgo).toISOString() })
        expect(yield* query((t) => `SELECT COUNT(*) AS n FROM ${t("dead_letters")}`)).toEqual([dead])
        yield* poller.unregister("ARCHIVER")
        // what it had not archived stays
        expect(yield* discarder.once(now)).toMatchObject({
          deleted: 0,
          heldBack: [{ _tag: "Archive", archivedTo: 2n }]
        })
        expect(yield* discarder.once({ ...now, requireArchived: "never" })).toMatchObject({
          deleted: 1,
          discardedTo: 3n
        })
        expect((yield* ids)[0]).toBe(4)
      })))

  it("ids go on after everything was discarded, and are never given again", () =>
    on(5, ({ discarder, fill, generator, ids, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        for (let last = 5; last < 20; last += 5) {
          yield* poller.poll("A", { lastId: last })
          expect(yield* discarder.once(now)).toMatchObject({ deleted: 5, discardedTo: BigInt(last), left: 0 })
          expect(yield* ids).toEqual([])
          if (last === 5) yield* fill(5)
          else {yield* generator.transaction(
              generator.emitAll(Array.from({ length: 5 }, (_, id) => Generator.event(Gone, { id })))
            )}
          expect((yield* poller.poll("A")).events.map((event) => Number(event.id))).toEqual(
            [1, 2, 3, 4, 5].map((n) => last + n)
          )
        }
      })))

  it("a dedupe key is free again when its event was discarded", () =>
    on(0, ({ discarder, generator, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        const add = generator.add(Gone, { id: 1 }, { dedupeKey: "once" })
        expect([yield* add, yield* add]).toEqual([1n, 1n])
        yield* poller.poll("A", { lastId: 1 })
        yield* discarder.once(now)
        const again = yield* add
        expect(again).toBeGreaterThan(1n)
        expect((yield* poller.poll("A")).events.map((event) => event.id)).toEqual([again])
      })))

  it("a registration starts at the first retained event, or says that what it asks for is gone", () =>
    on(10, ({ discarder, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 6 })
        yield* discarder.once(now)
        expect(yield* Effect.flip(poller.register("B", { from: { after: 5 } }))).toMatchObject({
          _tag: "EventsDiscarded",
          consumer: "local:B",
          after: 5n,
          discardedTo: 6n
        })
        expect(yield* Effect.flip(poller.poll("B"))).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* poller.register("B", { from: { after: 6 } })).toBe(6n)
        expect(yield* poller.register("C")).toBe(6n)
        // registered already: nothing is asked for
        expect(yield* poller.register("B", { from: { after: 2 } })).toBe(6n)
        expect((yield* poller.poll("C")).events.map((event) => event.id)).toEqual([7n, 8n, 9n, 10n])
        yield* Effect.forEach(["A", "B", "C"], (name) => poller.poll(name, { lastId: 10 }))
        yield* discarder.once(now)
        expect(yield* poller.register("D")).toBe(10n)
      })))

  it("two at once delete everything once", () =>
    on(400, ({ discarder, ids, poller }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 390 })
        const reports = yield* Effect.replicateEffect(discarder.once({ ...now, limitAtOnce: 7 }), 3).pipe(
          (all) => Effect.zipRight(all, Effect.all([1, 2].map(() => discarder.once(now)), { concurrency: 2 }))
        )
        expect(reports.map(({ deleted }) => deleted)).toEqual([0, 0])
        yield* poller.poll("A", { lastId: 400 })
        const both = yield* Effect.all([1, 2, 3].map(() => discarder.once({ ...now, limitAtOnce: 1 })), {
          concurrency: "unbounded"
        })
        expect(both.reduce((sum, { deleted }) => sum + deleted, 0)).toBe(10)
        expect(yield* ids).toEqual([])
      })))

  it("neither reading cursors nor deleting waits for a transaction that has moved one or has emitted", () =>
    on(10, ({ discarder, generator, ids, poller, query }) =>
      Effect.gen(function*() {
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 5 })
        if (backend === "sqlite") return
        const held = yield* Effect.makeLatch(false)
        const open = yield* Effect.makeLatch(false)
        const p = yield* query((t) => `SELECT '${t("")}' AS p`)
        const fiber = yield* Effect.fork(generator.transaction(Effect.gen(function*() {
          yield* generator.emit(Gone, { id: 1 })
          yield* held.open
          yield* open.await
        })))
        yield* held.await
        const locked = yield* Effect.promise(() => holdRow(db().url, `${p[0].p}consumers`))
        const report = yield* Effect.timeout(discarder.once(now), "5 seconds")
        expect(report).toMatchObject({ deleted: 5 })
        yield* Effect.promise(locked)
        yield* open.open
        yield* Fiber.join(fiber)
        expect((yield* ids).slice(0, 5)).toEqual([6, 7, 8, 9, 10])
      })))

  it("run goes on by its schedule, survives lost connections, and says once who holds it back", () =>
    on(10, ({ discarder, fill, ids, poller }) =>
      Effect.gen(function*() {
        const said: Array<string> = []
        const listening = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ message }) => void said.push(String(message)))
        )
        yield* poller.register("A")
        const fiber = yield* Effect.fork(
          Effect.provide(discarder.run({ ...now, schedule: recurring }), listening)
        )
        const until = (done: Effect.Effect<boolean>): Effect.Effect<void> =>
          Effect.repeat(Effect.delay(done, 20), { until: (done) => done }).pipe(Effect.asVoid)
        yield* until(
          Effect.sync(() => said.some((line) => /10 events.*local:A has not moved.*\(0\) since 20/.test(line)))
        )
        yield* Effect.sleep(200)
        yield* Effect.promise(db().killConnections)
        yield* poller.poll("A", { lastId: 10 })
        yield* until(Effect.map(ids, (left) => left.length === 0))
        yield* until(Effect.sync(() => said.some((line) => /Nobody holds back/.test(line))))
        yield* fill(1)
        yield* poller.poll("A", { lastId: 11 })
        yield* until(Effect.map(ids, (left) => left.length === 0))
        yield* Fiber.interrupt(fiber)
        expect(said.filter((line) => line.includes("(0)")).length).toBe(1)
      })))

  it("bad input is refused before anything is read", () =>
    on(0, ({ discarder, generator }) =>
      Effect.gen(function*() {
        const bad: ReadonlyArray<readonly [string, any]> = [
          ...[0, -1, 1.5, 100_001, NaN, "10"].map((limitAtOnce) => ["limitAtOnce", { limitAtOnce }] as const),
          ...[-1, 0.5, NaN, Infinity, "3"].map((events) => ["retain.events", { retain: { events } }] as const),
          ...[-1, NaN, "Infinity", "soon", "-1 seconds", "100000 days", Duration.infinity, {}].map((value) =>
            ["retain.for", { retain: { for: value } }] as const
          ),
          ...[0, -1, "never", NaN].map((evictAfter) => ["stale.evictAfter", { stale: { evictAfter } }] as const),
          ...["evict", {}, null, 1].map((stale) => ["stale", { stale }] as const),
          ...["yes", true, null].map((requireArchived) => ["requireArchived", { requireArchived }] as const)
        ]
        for (const [option, options] of bad) {
          expect([options, yield* Effect.flip(discarder.once(options))]).toMatchObject([
            options,
            { _tag: "InvalidOption", option }
          ])
          expect(yield* Effect.flip(discarder.run(options))).toMatchObject({ _tag: "InvalidOption", option })
        }
        for (const call of [discarder.once(), discarder.run()]) {
          expect(yield* Effect.flip(generator.transaction(call))).toMatchObject({ _tag: "InsideTransaction" })
        }
      })))
})

// the server of this dialect that counts, for each session, the rows that it looked at
onEach("A pass of the Discarder", ({ prefix, run }) => {
  it("looks at a batch of events at most when there is nothing more to discard", () => {
    const p = prefix()
    return run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { discarder, generator, poller } = yield* services
        yield* generator.addAll(Array.from({ length: 5000 }, (_, id) => Generator.event(Gone, { id })))
        yield* poller.register("A")
        yield* poller.poll("A", { lastId: 100 })
        const read = Effect.map(
          sql.unsafe<{ Value: string }>("SHOW SESSION STATUS LIKE 'Handler_read_next'"),
          ([row]) => Number(row!.Value)
        )
        const before = yield* read
        expect((yield* discarder.once({ retain: { for: 1 }, limitAtOnce: 100 })).deleted).toBe(100)
        expect((yield* read) - before).toBeLessThan(1000)
      }),
      { prefix: p },
      { maxConnections: 1 }
    )
  })
}, { backends: servers.filter((backend) => backend === "mysql") })
