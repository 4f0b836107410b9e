/** What is in the history can be asked for, by all that an event has. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "vitest"
import { type HistoryStore } from "../src/index.js"
import * as History from "../src/layers/History.js"
import { Any, archiving, Other } from "./support/archive.js"
import { backends, type TestDatabase } from "./support/backends.js"
import { skipMissing, withDatabase } from "./support/suite.js"

const start = Date.UTC(2026, 0, 1)
const stream = "00000000-0000-4000-8000-000000000000"

let prefixes = 0
const fresh = () => `h${++prefixes}_`

const row = (id: number, more: Partial<HistoryStore.ArchivedEvent> = {}): HistoryStore.ArchivedEvent => ({
  generation: 1,
  id: BigInt(id) as any,
  uid: `u${id}`,
  type: id % 3 === 0 ? "OTHER" : "ANY",
  key: id % 2 === 0 ? "even" : null,
  keyHash: 4_294_967_295,
  meta: null,
  data: `{"n":${id}}`,
  // not monotonic: each tenth is late
  ts: start + id * 1000 - (id % 10 === 0 ? 5000 : 0),
  ...more
})

const write = (store: HistoryStore.Service, rows: ReadonlyArray<HistoryStore.ArchivedEvent>) =>
  Effect.forEach([...new Set(rows.map(({ generation }) => generation))], (generation) => {
    const of = rows.filter((row) => row.generation === generation)
    return store.append(of, { generation, from: of[0]!.id, to: of[of.length - 1]!.id })
  })

const open = (db: TestDatabase, prefix = fresh(), migrate: "auto" | "check" = "auto") =>
  History.make({ client: db.client(), prefix, migrate })

const run = <A, E>(effect: Effect.Effect<A, E, import("effect/Scope").Scope>) =>
  Effect.runPromise(Effect.scoped(effect))

const failure = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.either(effect), (result) => Either.isLeft(result) ? result.left as any : undefined)

skipMissing("The history")

describe.each([...backends])("The history (%s)", (backend) => {
  const db = withDatabase(backend)

  it("finds events by type, key, id, generation and time, in pages", () =>
    run(Effect.gen(function*() {
      const { history, store } = yield* open(db())
      const rows = Array.from({ length: 60 }, (_, i) => row(i + 1))
      rows.push(...Array.from({ length: 10 }, (_, i) => row(56 + i, { generation: 3, uid: `v${i}` })))
      yield* write(store, rows)
      const ask = (query?: Parameters<typeof history.query>[0]) =>
        Effect.map(Stream.runCollect(history.query(query)), (found) =>
          Chunk.toReadonlyArray(found).map((event) => `${(event.row as any).generation}/${event.id}`))
      const expected = (f: (row: HistoryStore.ArchivedEvent) => boolean) =>
        rows.filter(f).map(({ generation, id }) =>
          `${generation}/${id}`
        )
      const time = (n: number) => new Date(start + n * 1000)
      for (const page of [1000, 7, 1]) {
        expect(yield* ask({ page })).toEqual(expected(() => true))
        expect(yield* ask({ page, want: [Other] })).toEqual(expected(({ type }) => type === "OTHER"))
        expect(yield* ask({ page, want: ["ANY", Other] })).toEqual(expected(() => true))
        expect(yield* ask({ page, want: [] })).toEqual([])
        expect(yield* ask({ page, key: "even" })).toEqual(expected(({ key }) => key === "even"))
        expect(yield* ask({ page, key: "EVEN" })).toEqual([])
        expect(yield* ask({ page, key: "even " })).toEqual([])
        expect(yield* ask({ page, after: 10, upTo: 57n })).toEqual(expected(({ id }) => id > 10n && id <= 57n))
        expect(yield* ask({ page, generation: 3 })).toEqual(expected(({ generation }) => generation === 3))
        expect(yield* ask({ page, generation: 2 })).toEqual([])
        expect(yield* ask({ page, since: time(20), until: time(40) })).toEqual(
          expected(({ ts }) => ts >= start + 20_000 && ts < start + 40_000)
        )
        expect(yield* ask({ page, since: time(57) })).toEqual(expected(({ ts }) => ts >= start + 57_000))
        expect(yield* ask({ page, until: time(6), generation: 1 })).toEqual(
          expected(({ generation, ts }) => generation === 1 && ts < start + 6000)
        )
        expect(yield* ask({ page, since: time(1000) })).toEqual([])
        expect(yield* ask({ page, since: time(57), generation: 3, want: [Any], key: "even" })).toEqual(
          expected(({ generation, key, ts, type }) =>
            generation === 3 && ts >= start + 57_000 && key === "even" && type === "ANY"
          )
        )
      }
      expect(yield* store.bounds({ since: start + 6000, until: start + 40_000 })).toEqual({
        first: { generation: 1, id: 6n },
        last: { generation: 1, id: 40n }
      })
      expect(yield* history.last).toEqual({ generation: 3, id: 65n })
    })))

  it("decodes what is declared", () =>
    run(Effect.gen(function*() {
      const { history, store } = yield* open(db())
      yield* write(store, [row(1), row(3), row(4, { data: "no JSON" })])
      const found = Chunk.toReadonlyArray(yield* Stream.runCollect(history.query({ want: [Any, "OTHER"] })))
      expect(found.map((event) => [event._tag, event.type])).toEqual([
        ["Known", "ANY"],
        ["Unknown", "OTHER"],
        ["Undecodable", "ANY"]
      ])
      expect(found[0]).toMatchObject({ id: 1n, data: { n: 1 }, ts: start + 1000, key: null })
    })))

  it("gives lines of JSON with the data as it was emitted", () =>
    run(Effect.gen(function*() {
      const { history, store } = yield* open(db())
      const data = "{\"b\":1.0, \"a\":12345678901234567890,\"a\":\"\\u00e9👍\\ud800\"}"
      yield* write(store, [
        row(1, { data, key: "k\"\n👍", meta: "{\"version\":2}", uid: "u\"1" }),
        row(2, { data: "{\n\"n\":\r\n2}", key: null }),
        row(3, { data: "no\nJSON" })
      ])
      const lines = Chunk.toReadonlyArray(yield* Stream.runCollect(history.ndjson({ generation: 1 })))
      expect(lines).toEqual([
        `{"generation":1,"id":"1","uid":"u\\"1","type":"ANY","key":"k\\"\\n👍","meta":{"version":2},"ts":"2026-01-01T00:00:01.000Z","data":${data}}\n`,
        `{"generation":1,"id":"2","uid":"u2","type":"ANY","ts":"2026-01-01T00:00:02.000Z","data":{ "n": 2}}\n`,
        `{"generation":1,"id":"3","uid":"u3","type":"OTHER","ts":"2026-01-01T00:00:03.000Z","data":"no\\nJSON"}\n`
      ])
      for (const line of lines) expect(JSON.parse(line)).toMatchObject({ generation: 1 })
    })))

  it("what is written again changes nothing, and what is large is cut into packets", () =>
    run(Effect.gen(function*() {
      const { store } = yield* open(db())
      // quotes and backslashes are the worst case of an escaped text
      const large = JSON.stringify("\"\\".repeat(1024 * 1024))
      const rows = [row(1, { data: large }), ...[2, 3, 4, 5].map((id) => row(id, { data: large.slice(0, 3_000_000) }))]
      const range = { generation: 1, from: 1n, to: 5n }
      const sums = yield* store.append(rows, range)
      expect(sums.count).toBe(5)
      expect(yield* store.append(rows.map((row) => ({ ...row, data: "null" })), range)).toEqual(sums)
      const [found] = yield* store.page({ after: { generation: 1, id: 0n }, upTo: undefined, limit: 1 })
      expect(found!.data === large).toBe(true)
      expect(yield* store.append([], range)).toEqual(sums)
    })))

  it("takes what other databases let in: long keys and types, any uid, what is no JSON", () =>
    run(Effect.gen(function*() {
      const { store } = yield* open(db())
      const odd = row(1, {
        type: "T".repeat(300),
        key: "é".repeat(10_000),
        uid: "not a uuid ' \\ 👍",
        data: "no JSON: '\"\\ \u2028 👩‍🚀",
        meta: "$evt$ $evt0$",
        ts: start + 7
      })
      yield* write(store, [odd])
      const [found] = yield* store.page({ after: { generation: 1, id: 0n }, upTo: undefined, limit: 1 })
      expect(found).toEqual(odd)
    })))

  it("belongs to one stream", () =>
    run(Effect.gen(function*() {
      const { store } = yield* open(db())
      const other = "11111111-0000-4000-8000-000000000000"
      expect(yield* store.claim({ stream, since: 5n })).toEqual({ stream, since: 5n })
      expect(yield* store.claim({ stream: other, since: 9n })).toEqual({ stream, since: 5n })
      // empty, it may begin later
      expect(yield* store.claim({ stream, since: 9n })).toEqual({ stream, since: 9n })
      yield* write(store, [row(10)])
      expect(yield* store.claim({ stream, since: 12n })).toEqual({ stream, since: 9n })
    })))

  it("erases by key and by id", () =>
    run(Effect.gen(function*() {
      const { store } = yield* open(db())
      yield* write(store, [1, 2, 3, 4].map((id) => row(id)))
      expect(yield* store.redact({ key: "even " })).toBe(0)
      expect(yield* store.redact({ key: "even" })).toBe(2)
      expect(yield* store.redact({ key: "even" })).toBe(0)
      expect(yield* store.redact({ ids: [] })).toBe(0)
      const found = yield* store.page({ after: { generation: 1, id: 0n }, upTo: undefined, limit: 10 })
      expect(found.map(({ data, key, meta }) => [data, key, meta])).toEqual([
        ["{\"n\":1}", null, null],
        ["null", null, "{\"redacted\":true}"],
        ["{\"n\":3}", null, null],
        ["null", null, "{\"redacted\":true}"]
      ])
    })))

  it("says what it cannot be asked for", () =>
    run(Effect.gen(function*() {
      const { history } = yield* open(db())
      for (
        const query of [
          { page: 0 },
          { page: 1001 },
          { after: 0 },
          { upTo: "x" },
          { generation: 1.5 },
          { since: new Date(NaN) },
          { until: "2026" as any },
          { key: "\u0000" },
          { want: ["no type"] }
        ]
      ) {
        expect(yield* failure(Stream.runDrain(history.query(query)))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* failure(Stream.runDrain(history.ndjson(query)))).toMatchObject({ _tag: "InvalidOption" })
      }
    })))

  it("needs its tables, which can be made apart", () =>
    run(Effect.gen(function*() {
      const prefix = fresh()
      const missing = yield* failure(Effect.scoped(open(db(), prefix, "check")))
      expect(missing).toMatchObject({ _tag: "SchemaMismatch" })
      expect(missing.message).toMatch(/EventStream\.migrate/)
      yield* Effect.all(
        [1, 2, 3].map(() => History.migrate({ client: db().client(), prefix })),
        { concurrency: "unbounded" }
      )
      const { history } = yield* open(db(), prefix, "check")
      expect(yield* history.last).toBeUndefined()
    })))

  it("a client that cannot be built is an error", () =>
    run(Effect.gen(function*() {
      const broken = Layer.fail("no such server") as any
      expect(yield* failure(Effect.scoped(History.make({ client: broken })))).toMatchObject({
        _tag: "StoreError",
        operation: "open history"
      })
    })))

  it("lives beside its stream in one database, under the same prefix", async () => {
    const where = { active: db(), history: db(), prefix: fresh() }
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* service.generator.add(Any, { n: 1 }, { key: "k" })
        yield* service.archiver.once()
        const found = Chunk.toReadonlyArray(yield* Stream.runCollect(service.history.query({ key: "k", want: [Any] })))
        expect(found).toMatchObject([{ id: 1n, data: { n: 1 } }])
      }))
  })
})
