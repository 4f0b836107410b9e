/** SQLite: one file, many processes, one writer at a time. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { spawnTs } from "../support/child.js"
import { Gone, onEach, services } from "../support/stream.js"
import { Sqlite } from "../support/servers.js"
import * as Chaos from "./chaos.js"
import { rounds } from "./rounds.js"

const writerFile = fileURLToPath(new URL("./writer.ts", import.meta.url))

onEach("SQLite", ({ db, prefix, run }) => {
  it("eight processes on one file: nothing is lost, repeated or inverted", async () => {
    const p = prefix()
    await run(Chaos.createTables(p), { prefix: p })
    const children = Array.from({ length: 7 }, () => spawnTs(writerFile, [db().url, p, `${rounds(60, 400)}`]))
    const outcome = await run(
      Chaos.run({ backend: "sqlite", prefix: p, writers: 4, transactions: rounds(200, 2000), longOpen: 0 }),
      { prefix: p }
    )
    const ends = await Promise.all(children.map((child) => child.exited))
    expect(ends.map(({ code }) => code)).toEqual(ends.map(() => 0))
    // the rest that the others wrote after the consumer here had stopped
    const rest = await run(
      Effect.flatMap(services, ({ poller }) => poller.poll("LIVE", { want: [Chaos.Changed], limit: 1000 })),
      { prefix: p }
    )
    console.log(JSON.stringify(outcome))
    expect(outcome).toMatchObject({ ...Chaos.perfect, lost: expect.any(Number) })
    expect(rest.events.length).toBeGreaterThan(0)
    const [{ n }] = await db().query(`SELECT count(*) AS n FROM ${p}log`) as [any]
    const ledger = await db().query(`SELECT events FROM ${p}ledger`)
    expect(n).toBe(ledger.flatMap((row) => row.events.split(" ").filter((text: string) => text !== "")).length)
  })

  it("readers go on while a write transaction is open", async () => {
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* generator.add(Gone, { id: 1 })
        const open = yield* Effect.fork(
          generator.transaction(Effect.zipRight(generator.emit(Gone, { id: 2 }), Effect.sleep(1500)))
        )
        yield* Effect.sleep(50)
        for (let i = 0; i < 20; i++) {
          expect((yield* poller.poll("LIVE")).events.length).toBe(1)
        }
        expect(open.unsafePoll()).toBeNull()
        yield* Fiber.join(open)
        expect((yield* poller.poll("LIVE")).events.length).toBe(2)
        void sql
      }),
      { prefix: prefix() }
    )
  })

  it("a lock of another process never freezes the event loop, and is waited for", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.add(Gone, { id: 1 })
        const other = new Sqlite(new URL(db().url).pathname)
        let stall = 0
        let last = performance.now()
        const timer = setInterval(() => {
          const now = performance.now()
          stall = Math.max(stall, now - last)
          last = now
        }, 1)
        try {
          for (const held of [100, 400, 800]) {
            other.exec("BEGIN IMMEDIATE")
            const before = performance.now()
            setTimeout(() => other.exec("COMMIT"), held)
            yield* Effect.all([
              generator.transaction(generator.emit(Gone, { id: 2 })),
              generator.add(Gone, { id: 3 }),
              poller.poll("C", { lastId: 1 }),
              poller.register("D")
            ], { concurrency: "unbounded" })
            expect(performance.now() - before).toBeGreaterThan(held - 20)
          }
        } finally {
          clearInterval(timer)
          other.close()
        }
        console.log(`longest stall of the event loop: ${stall.toFixed(1)} ms`)
        // the driver's own wait would freeze it for as long as the lock is held
        expect(stall).toBeLessThan(250)
        expect((yield* poller.poll("LIVE")).events.length).toBe(7)
      }),
      { prefix: p }
    )
  })

  it("a lock that is held too long is a typed, retryable failure", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const other = new Sqlite(new URL(db().url).pathname)
        other.exec("BEGIN IMMEDIATE")
        try {
          const [add, transaction] = yield* Effect.all([
            Effect.flip(generator.add(Gone, { id: 1 })),
            Effect.flip(generator.transaction(generator.emit(Gone, { id: 2 })))
          ], { concurrency: 2 })
          expect(add).toMatchObject({ _tag: "StoreError", reason: "busy", retryable: true })
          expect(transaction).toMatchObject({
            _tag: "TransactionFailed",
            reason: "busy",
            retryable: true,
            phase: "begin"
          })
        } finally {
          other.exec("ROLLBACK")
          other.close()
        }
        yield* generator.add(Gone, { id: 3 })
      }),
      { prefix: prefix() }
    )
  })

  it("a full disk is a typed failure, loses nothing, and the rest goes on after space is made", async () => {
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* generator.add(Gone, { id: 1 })
        const [{ page_count: pages }] = yield* sql.unsafe<any>("PRAGMA page_count")
        yield* sql.unsafe(`PRAGMA max_page_count = ${pages + 2}`)
        const big = { key: "k".repeat(200) }
        const fill = Effect.forever(generator.add(Gone, { id: 2 }, big))
        expect(yield* Effect.flip(fill)).toMatchObject({ _tag: "StoreError", reason: "full", retryable: false })
        const inTransaction = Effect.flip(generator.transaction(Effect.forever(generator.emit(Gone, { id: 3 }, big))))
        expect(yield* inTransaction).toMatchObject({ _tag: "StoreError", reason: "full" })
        yield* sql.unsafe("PRAGMA max_page_count = 1073741823")
        const id = yield* generator.add(Gone, { id: 4 })
        const { events, upTo } = yield* poller.poll("LIVE", { want: [Gone] })
        expect(upTo).toBe(id)
        expect(events.map((e) => e._tag === "Known" ? e.data.id : 0).filter((id) => id === 3)).toEqual([])
      }),
      { prefix: prefix() }
    )
  })
}, { backends: ["sqlite"] })
