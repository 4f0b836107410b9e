import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { expect, it } from "vitest"
import { EventStreamError, Generator } from "../src/index.js"
import { createDatabase, servers, withPrivate } from "./support/backends.js"
import { Added, Gone, onEach, services } from "./support/stream.js"

const ids = (events: ReadonlyArray<{ readonly _tag: string; readonly data?: any }>) => events.map((e) => e.data.id)

onEach("Generator", ({ backend, db, prefix, run }) => {
  const accounts = (name: string) =>
    Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(`CREATE TABLE ${name} (id INTEGER PRIMARY KEY)`))

  it("an event is delivered if and only if its transaction committed", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* accounts(`${p}users`)
        const write = (id: number) =>
          Effect.zipRight(
            sql.unsafe(`INSERT INTO ${p}users VALUES (${id})`),
            generator.emit(Added, { id, email: "" })
          )
        yield* generator.transaction(write(1))
        yield* Effect.exit(generator.transaction(Effect.zipRight(write(2), Effect.fail("no"))))
        yield* Effect.exit(generator.transaction(Effect.zipRight(write(3), Effect.die("no"))))
        const fiber = yield* Effect.fork(generator.transaction(Effect.zipRight(write(4), Effect.never)))
        yield* Effect.sleep(50)
        yield* Fiber.interrupt(fiber)
        yield* sql.withTransaction(write(5))
        yield* Effect.exit(sql.withTransaction(Effect.zipRight(write(6), Effect.fail("no"))))
        // a savepoint that is rolled back takes its events with it, the rest stays
        yield* generator.transaction(Effect.gen(function*() {
          yield* write(7)
          yield* Effect.ignore(generator.transaction(Effect.zipRight(write(8), Effect.fail("no"))))
          yield* Effect.ignore(sql.withTransaction(Effect.zipRight(write(9), Effect.fail("no"))))
          yield* generator.transaction(write(10))
        }))
        const { events } = yield* poller.poll("LIVE", { want: [Added] })
        expect(ids(events)).toEqual([1, 5, 7, 10])
        const rows = yield* sql.unsafe<{ id: number }>(`SELECT id FROM ${p}users ORDER BY id`)
        expect(rows.map((row) => Number(row.id))).toEqual([1, 5, 7, 10])
      }),
      { prefix: p }
    )
  })

  it("emitAll keeps its order and its data byte for byte, whatever is in it", async () => {
    const strings = [
      "",
      "emoji 😀",
      "\u0000 \u0001",
      "\ud800 lone",
      "\\ ' \" ` $ ? :",
      "žluťoučký",
      "\u2028",
      "a\r\n\tb"
    ]
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const events = strings.map((email, id) => Generator.event(Added, { id, email }))
        yield* generator.transaction(generator.emitAll(events))
        yield* generator.addAll(events)
        for (const [id, email] of strings.entries()) yield* generator.transaction(generator.emit(Added, { id, email }))
        const batch = yield* poller.poll("LIVE", { want: [Added] })
        const texts = strings.map((email, id) => JSON.stringify({ id, email }))
        expect(batch.events.map((e) => e.json)).toEqual([...texts, ...texts, ...texts])
        expect(batch.events.map((e) => e._tag === "Known" ? e.data.email : e)).toEqual([
          ...strings,
          ...strings,
          ...strings
        ])
      }),
      { prefix: prefix() }
    )
  })

  it("key, meta and time travel with the event", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const uid = yield* generator.transaction(
          generator.emit(Added, { id: 1, email: "" }, { key: "user 😀'\\", correlationId: "c", causationId: "d" })
        )
        const [event] = (yield* poller.poll("LIVE")).events
        expect(event).toMatchObject({ uid, key: "user 😀'\\", meta: { correlationId: "c", causationId: "d" } })
        expect(uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        expect(Math.abs(event!.ts - Date.now())).toBeLessThan(60_000)
        expect(JSON.parse(JSON.stringify(event))).toMatchObject({ id: "1", uid, key: "user 😀'\\", data: { id: 1 } })
      }),
      { prefix: prefix() }
    )
  })

  it("add answers with ids in the order of the log, also from many fibers at once", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const added = yield* Effect.all(
          Array.from({ length: 300 }, (_, id) => generator.add(Added, { id, email: "" })),
          { concurrency: "unbounded" }
        )
        const { events } = yield* poller.poll("LIVE", { want: [Added] })
        expect(new Set(added).size).toBe(300)
        for (const event of events) expect(added[event._tag === "Known" ? event.data.id : -1]).toBe(event.id)
        expect(yield* generator.addAll([])).toEqual([])
      }),
      { prefix: prefix() }
    )
  })

  it("events of transactions that follow each other are never inverted, one by emit, the other by add", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const rounds = 60
        yield* Effect.forEach(Array.from({ length: rounds }, (_, i) => i), (i) =>
          Effect.gen(function*() {
            yield* generator.transaction(generator.emit(Added, { id: 2 * i, email: "" }))
            yield* generator.add(Added, { id: 2 * i + 1, email: "" })
          }))
        const { events } = yield* poller.poll("LIVE", { want: [Added] })
        expect(ids(events)).toEqual(Array.from({ length: 2 * rounds }, (_, i) => i))
      }),
      // nobody sequences in between: only add itself can keep the order
      { prefix: prefix(), sequencer: "off" }
    )
  })

  it("an add behind a backlog waits for its turn instead of overtaking", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const backlog = Array.from({ length: 4500 }, (_, id) => Generator.event(Added, { id, email: "" }))
        yield* generator.transaction(generator.emitAll(backlog))
        const [a, b] = yield* generator.addAll([
          Generator.event(Added, { id: 4500, email: "" }),
          Generator.event(Added, { id: 4501, email: "" })
        ])
        expect([a, b]).toEqual([4501n, 4502n])
        let lastId: bigint | undefined
        const seen: Array<number> = []
        while (seen.length < 4502) {
          const batch = yield* poller.poll("LIVE", { want: [Added], ...(lastId === undefined ? {} : { lastId }) })
          seen.push(...ids(batch.events))
          lastId = batch.upTo
        }
        expect(seen).toEqual(Array.from({ length: 4502 }, (_, i) => i))
      }),
      { prefix: prefix(), sequencer: "off" }
    )
  })

  it("a dedupe key stores one event and answers with its id", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, sequencer } = yield* services
        const add = (id: number, dedupeKey: string) => generator.add(Added, { id, email: "" }, { dedupeKey })
        const first = yield* add(1, "a")
        expect(yield* add(2, "a")).toBe(first)
        const both = yield* generator.addAll([
          Generator.event(Added, { id: 3, email: "" }, { dedupeKey: "b" }),
          Generator.event(Added, { id: 4, email: "" }),
          Generator.event(Added, { id: 5, email: "" }, { dedupeKey: "b" }),
          Generator.event(Added, { id: 6, email: "" }, { dedupeKey: "a" })
        ])
        expect(both[2]).toBe(both[0])
        expect(both[3]).toBe(first)
        const emit = (id: number, dedupeKey: string) => generator.emit(Added, { id, email: "" }, { dedupeKey })
        yield* generator.transaction(emit(7, "a"))
        yield* generator.transaction(Effect.zipRight(emit(8, "c"), emit(9, "c")))
        yield* generator.transaction(emit(10, "c"))
        yield* sequencer.run
        expect(yield* add(11, "c")).toBeTypeOf("bigint")
        const { events } = yield* poller.poll("LIVE", { want: [Added] })
        expect(ids(events)).toEqual([1, 3, 4, 8])
      }),
      { prefix: prefix() }
    )
  })

  it("statement gives what another library needs to write events in its own transaction", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        const statement = yield* generator.statement([
          Generator.event(Added, { id: 1, email: "😀" }),
          Generator.event(Gone, { id: 2 }, { key: "k" })
        ])
        yield* sql.withTransaction(sql.unsafe(statement.sql, statement.params))
        yield* Effect.ignore(sql.withTransaction(
          Effect.zipRight(sql.unsafe(statement.sql, statement.params), Effect.fail("no"))
        ))
        const { events } = yield* poller.poll("LIVE", { want: [Added, Gone] })
        expect(events.map((e) => [e.uid, e.json])).toEqual([
          [statement.uids[0], `{"id":1,"email":"😀"}`],
          [statement.uids[1], `{"id":2}`]
        ])
      }),
      { prefix: p }
    )
  })

  it("writers in other languages insert type and data into the queue", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { poller } = yield* services
        yield* sql.unsafe(`INSERT INTO ${p}queue (type, data) VALUES ('USR_DEL', '{"id":1}')`)
        yield* sql.unsafe(`INSERT INTO ${p}queue (type, data, event_key) VALUES ('USR_DEL', '{"id":2}', 'k')`)
        const { events } = yield* poller.poll("LIVE", { want: [Gone] })
        expect(ids(events)).toEqual([1, 2])
        expect(events[0]!.uid).toMatch(/^[0-9a-f-]{36}$/)
        expect(Math.abs(events[0]!.ts - Date.now())).toBeLessThan(60_000)
        expect(events[1]!.key).toBe("k")
        const hash = yield* sql.unsafe(`SELECT key_hash AS h FROM ${p}log ORDER BY id`)
        expect(hash.every((row: any) => BigInt(row.h) >= 0n && BigInt(row.h) < 4294967296n)).toBe(true)
      }),
      { prefix: p }
    )
  })

  it("emptying the log and restarting never reuses an id", async () => {
    const p = prefix()
    const add = Effect.flatMap(services, ({ generator }) => generator.add(Gone, { id: 1 }))
    const first = await run(Effect.zipRight(add, add), { prefix: p })
    expect(first).toBe(2n)
    await db().query(`DELETE FROM ${p}log`)
    expect(await run(add, { prefix: p })).toBe(3n)
    await db().query(`DELETE FROM ${p}log`)
    const emitted = await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* Effect.ignore(generator.transaction(Effect.zipRight(generator.emit(Gone, { id: 1 }), Effect.fail("no"))))
        yield* generator.transaction(generator.emit(Gone, { id: 1 }))
        return (yield* poller.poll("LIVE")).upTo
      }),
      { prefix: p }
    )
    expect(emitted).toBe(4n)
  })

  it("a transaction that fails to begin or commit says so, typed, and leaves a usable connection", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        if (backend === "mysql") return
        // a deferred constraint fails at COMMIT, where the bare client dies
        yield* sql.unsafe(`CREATE TABLE ${p}parent (id INTEGER PRIMARY KEY)`)
        yield* sql.unsafe(
          `CREATE TABLE ${p}child (id INTEGER REFERENCES ${p}parent (id) DEFERRABLE INITIALLY DEFERRED)`
        )
        const broken = Effect.zipRight(sql.unsafe(`INSERT INTO ${p}child VALUES (1)`), generator.emit(Gone, { id: 1 }))
        const error = yield* Effect.flip(generator.transaction(broken))
        expect(error).toMatchObject({
          _tag: "TransactionFailed",
          phase: "commit",
          outcome: "rolledBack",
          retryable: false
        })
        yield* generator.transaction(generator.emit(Gone, { id: 2 }))
        expect(ids((yield* poller.poll("LIVE", { want: [Gone] })).events)).toEqual([2])
        // fromCause finds it where the bare client dies
        const cause = yield* Effect.flip(
          Effect.sandbox(sql.withTransaction(sql.unsafe(`INSERT INTO ${p}child VALUES (1)`)))
        )
        expect(EventStreamError.fromCause(cause)).toMatchObject({ value: { _tag: "StoreError", retryable: false } })
      }),
      { prefix: p },
      { maxConnections: 1 }
    )
  })

  it("retry runs the whole transaction again while it fails with something retryable", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        let runs = 0
        const flaky = Effect.suspend(() =>
          Effect.zipRight(
            generator.emit(Gone, { id: ++runs }),
            runs < 3
              ? Effect.fail(new EventStreamError.StoreError({ operation: "x", retryable: true, reason: "deadlock" }))
              : Effect.succeed("done")
          )
        )
        expect(yield* generator.transaction(flaky, { retry: Schedule.recurs(5) })).toBe("done")
        expect(ids((yield* poller.poll("LIVE", { want: [Gone] })).events)).toEqual([3])
      }),
      { prefix: prefix() }
    )
  })

  it("a caller interrupted before its batch is taken writes nothing; closing the layer writes the rest", async () => {
    const p = prefix()
    const accepted = await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const fibers = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (id) => Effect.forkDaemon(generator.add(Gone, { id }))
        )
        yield* Effect.yieldNow()
        const exits = yield* Effect.all(fibers.slice(10).map((fiber) => Fiber.interrupt(fiber)), {
          concurrency: "unbounded"
        })
        const interrupted = new Set(exits.flatMap((exit, i) => Exit.isSuccess(exit) ? [] : [10 + i]))
        return { fibers: fibers.slice(0, 10), interrupted }
      }),
      { prefix: p }
    )
    const answered = await Effect.runPromise(Effect.all(accepted.fibers.map(Fiber.join)))
    expect(answered.length).toBe(10)
    const stored = await run(
      Effect.flatMap(services, ({ poller }) => poller.poll("LIVE", { want: [Gone] })),
      { prefix: p }
    )
    const there = new Set(ids(stored.events))
    for (let id = 0; id < 10; id++) expect(there).toContain(id)
  })

  it("the settings of the user's client do not change us", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.transaction(generator.emit(Added, { id: 1, email: "camelCase snake_case" }))
        yield* generator.add(Gone, { id: 2 }, { dedupeKey: "x" })
        expect(yield* generator.add(Gone, { id: 3 }, { dedupeKey: "x" })).toBe(2n)
        const batch = yield* poller.poll("C", { want: [Added, Gone] })
        expect(ids(batch.events)).toEqual([1, 2])
        expect((yield* poller.poll("C", { want: ["NONE"], lastId: 2 })).upTo).toBe(2n)
      }),
      { prefix: prefix() },
      { peculiar: true }
    )
  })
})

onEach("Whose transaction is it", ({ backend, db, prefix, run }) => {
  it("emit outside of a transaction is NotInTransaction", async () => {
    const error = await run(
      Effect.flatMap(services, ({ generator }) => Effect.flip(generator.emit(Gone, { id: 1 }))),
      { prefix: prefix() }
    )
    expect(error).toMatchObject({ _tag: "NotInTransaction" })
  })

  it("what needs a connection of its own is InsideTransaction inside ours", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, sequencer } = yield* services
        const inside: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
          generator.add(Gone, { id: 1 }),
          poller.poll("LIVE"),
          poller.register("X"),
          poller.unregister("X"),
          sequencer.run
        ]
        for (const effect of inside) {
          expect(yield* Effect.flip(generator.transaction(effect))).toMatchObject({ _tag: "InsideTransaction" })
        }
      }),
      { prefix: prefix() }
    )
  })

  const foreign = backend !== "mysql" || withPrivate.includes("mysql") ? it : it.skip
  foreign("a transaction of another database is ForeignTransaction, and nothing of ours runs in it", async () => {
    // databases of one MySQL server share their transactions: only another server's is foreign there
    const other = await createDatabase(backend, { serializable: backend === "mysql" })
    try {
      await run(
        Effect.gen(function*() {
          const { generator, poller } = yield* services
          const ours = yield* SqlClient.SqlClient
          const context = yield* Layer.build(other.client())
          const foreign = context.unsafeMap.get(SqlClient.SqlClient.key) as SqlClient.SqlClient
          yield* foreign.withTransaction(Effect.gen(function*() {
            expect(yield* Effect.flip(generator.emit(Gone, { id: 1 }))).toMatchObject({ _tag: "ForeignTransaction" })
            // the foreign transaction still works, and ours run beside it
            yield* foreign.unsafe("SELECT 1 AS one")
            expect(yield* generator.add(Gone, { id: 2 })).toBe(1n)
            expect((yield* poller.poll("LIVE")).events.length).toBe(1)
            yield* generator.transaction(generator.emit(Gone, { id: 3 }))
          }))
          expect(ids((yield* poller.poll("LIVE", { want: [Gone] })).events)).toEqual([2, 3])
          void ours
        }),
        { prefix: prefix() }
      )
    } finally {
      await other.drop()
    }
  })

  it("a transaction of another client of the same database is ours", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const context = yield* Layer.build(db().client())
        const second = context.unsafeMap.get(SqlClient.SqlClient.key) as SqlClient.SqlClient
        yield* second.withTransaction(generator.emit(Gone, { id: 1 }))
        yield* Effect.ignore(
          second.withTransaction(Effect.zipRight(generator.emit(Gone, { id: 2 }), Effect.fail("no")))
        )
        expect(ids((yield* poller.poll("LIVE", { want: [Gone] })).events)).toEqual([1])
      }),
      { prefix: prefix() }
    )
  })

  it("a fiber that outlives its transaction cannot emit with its connection", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const fiber = yield* generator.transaction(
          Effect.forkDaemon(Effect.zipRight(Effect.sleep(100), Effect.flip(generator.emit(Gone, { id: 1 }))))
        )
        expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "NotInTransaction" })
        expect((yield* poller.poll("LIVE")).events).toEqual([])
      }),
      { prefix: prefix() }
    )
  })
})

onEach("A transaction that the database has rolled back", ({ backend, prefix, run }) => {
  it("an emit after a swallowed error does not commit alone, and the end says so", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* sql.unsafe(`CREATE TABLE ${p}rows (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`)
        yield* sql.unsafe(`INSERT INTO ${p}rows VALUES (1, 0), (2, 0)`)
        const lost = Effect.gen(function*() {
          yield* generator.emit(Gone, { id: 1 })
          if (backend === "postgres") yield* Effect.ignore(sql.unsafe(`INSERT INTO ${p}rows VALUES (1, 0)`))
          else yield* deadlock(sql, `${p}rows`)
        })
        const emitted = yield* Effect.flip(
          generator.transaction(Effect.zipRight(lost, generator.emit(Gone, { id: 2 })))
        )
        expect(emitted).toMatchObject({ _tag: "TransactionLost" })
        const committed = yield* Effect.flip(generator.transaction(lost))
        expect(committed).toMatchObject({ _tag: "TransactionLost" })
        expect((yield* poller.poll("LIVE")).events).toEqual([])
      }),
      { prefix: p }
    )
  })
}, { backends: servers })

/** Makes the current transaction the victim of a deadlock and swallows the error. */
const deadlock = (sql: SqlClient.SqlClient, table: string) =>
  Effect.gen(function*() {
    const other = (id: number) => sql.unsafe(`UPDATE ${table} SET n = n + 1 WHERE id = ${id}`)
    const connection = yield* Effect.scoped(Effect.gen(function*() {
      const conn = yield* sql.reserve
      // the other one has written more, so InnoDB picks ours as the victim
      yield* conn.executeUnprepared("START TRANSACTION", [], undefined)
      yield* conn.executeUnprepared(
        `UPDATE ${table} SET n = n + 1 WHERE id = 2; INSERT INTO ${table} SELECT seq + 100, 1 FROM seq_1_to_500`,
        [],
        undefined
      )
      yield* other(1)
      const waits = yield* Effect.fork(
        conn.executeUnprepared(`UPDATE ${table} SET n = n + 1 WHERE id = 1`, [], undefined)
      )
      yield* Effect.sleep(200)
      const exit = yield* Effect.exit(other(2))
      yield* Effect.exit(Fiber.join(waits))
      yield* conn.executeUnprepared("ROLLBACK", [], undefined)
      return exit
    }))
    expect(Exit.isFailure(connection)).toBe(true)
  })
