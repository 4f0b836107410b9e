/** The answer to a COMMIT is lost: a proxy passes it on and cuts the connection. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { afterAll, beforeAll, expect, it } from "vitest"
import { servers } from "../support/backends.js"
import { type Proxy, startProxy } from "../support/proxy.js"
import { Gone, onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"

onEach("A COMMIT whose answer is cut off", ({ backend, db, prefix, run }) => {
  let proxy: Proxy
  beforeAll(async () => {
    const { hostname, port } = new URL(db().url)
    proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
  })
  afterAll(() => proxy.stop())

  const stored = Effect.flatMap(
    services,
    ({ poller }) =>
      Effect.map(
        poller.poll("LIVE", { want: [Gone] }),
        (batch) => batch.events.map((e) => e._tag === "Known" ? e.data.id : -1)
      )
  )

  it("of a transaction is answered by what is in the database", async () => {
    const p = prefix()
    const ends = await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe(`CREATE TABLE ${p}ledger (id INTEGER PRIMARY KEY)`)
        const ends: Array<[number, string]> = []
        for (let id = 0; id < rounds(6, 40); id++) {
          const when = id % 2 === 0 ? "after" : "before"
          const exit = yield* Effect.exit(generator.transaction(Effect.gen(function*() {
            yield* sql.unsafe(`INSERT INTO ${p}ledger VALUES (${id})`)
            yield* generator.emit(Gone, { id })
            proxy.cut("COMMIT", when)
          })))
          ends.push([
            id,
            Exit.isSuccess(exit)
              ? "committed"
              : Exit.isFailure(exit) && exit.cause._tag === "Fail"
              ? (exit.cause.error as any).outcome
              : `defect ${exit}`
          ])
          expect(ends[id]![1]).toBe(when === "after" ? "committed" : "rolledBack")
        }
        return ends
      }),
      { prefix: p, sequencer: "off" },
      { port: proxy.port }
    )
    const expected = ends.filter(([, end]) => end === "committed").map(([id]) => id)
    expect(await run(stored, { prefix: p })).toEqual(expected)
    const ledger = await db().query(`SELECT id FROM ${p}ledger ORDER BY id`)
    expect(ledger.map((row) => Number(row.id))).toEqual(expected)
  })

  it("of a transaction without events is reported as unknown", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe(`CREATE TABLE ${p}ledger (id INTEGER PRIMARY KEY)`)
        const error = yield* Effect.flip(generator.transaction(Effect.suspend(() => {
          proxy.cut("COMMIT", "after")
          return sql.unsafe(`INSERT INTO ${p}ledger VALUES (1)`)
        })))
        expect(error).toMatchObject({
          _tag: "TransactionFailed",
          outcome: "unknown",
          retryable: false,
          reason: "connection"
        })
      }),
      { prefix: p, sequencer: "off" },
      { port: proxy.port }
    )
  })

  it("of an add is neither lost nor doubled", async () => {
    const p = prefix()
    const count = rounds(4, 40)
    const ids = await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const ids: Array<bigint> = []
        for (let id = 0; id < count; id++) {
          proxy.cut(`${p}append`, id % 2 === 0 ? "after" : "before")
          ids.push(yield* generator.add(Gone, { id }))
        }
        return ids
      }),
      { prefix: p, sequencer: "off" },
      { port: proxy.port }
    )
    expect(proxy.cuts()).toBeGreaterThanOrEqual(count)
    expect(await run(stored, { prefix: p })).toEqual(Array.from({ length: count }, (_, id) => id))
    expect(ids).toEqual(Array.from({ length: count }, (_, i) => BigInt(i + 1)))
  }, 300_000)

  it("of an add is OutcomeUnknown when the database cannot be asked", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const before = proxy.cuts()
        proxy.cut(`${p}append`, "after")
        const fiber = yield* Effect.fork(Effect.flip(generator.add(Gone, { id: 1 })))
        yield* Effect.repeat(Effect.sleep(1), { until: () => proxy.cuts() > before })
        proxy.accept(false)
        const error = yield* fiber
        expect(error).toMatchObject({ _tag: "OutcomeUnknown" })
        expect((error as any).uids.length).toBe(1)
        proxy.accept(true)
      }),
      { prefix: p, sequencer: "off" },
      { port: proxy.port }
    ).finally(() => proxy.accept(true))
  })
}, { backends: servers })
