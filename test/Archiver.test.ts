/** What the archiver promises: the history holds every event once, byte for byte, or somebody is told. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "vitest"
import { Generator, type HistoryStore } from "../src/index.js"
import { make as makeArchiver } from "../src/layers/Archiver.js"
import { sumsOf } from "../src/layers/archive/sums.js"
import { Any, type Archive, archiving, both, opened, Other, type Places, rowsOf } from "./support/archive.js"
import { type Backend, backends } from "./support/backends.js"
import { withDatabase } from "./support/suite.js"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const events = (n: number, from = 0) => range(n).map((i) => Generator.event(Any, { n: from + i }))

const odd = [
  { emoji: "👩‍🚀 ünï 漢字", quotes: "\"'`\\ %_ \\n \\u0000 ? $1 :x", control: "\u0001\u001f\t\n\r", line: "\u2028" },
  "\ud800 half a pair",
  { big: Number.MAX_VALUE, exp: 1e300, neg: -0.1, deep: [[[[{}]]]], empty: "" },
  "x".repeat(64_000),
  null,
  0,
  "",
  { "": { "key with \"quote\"": [true, false, null] } }
]

let prefixes = 0
const fresh = () => `a${++prefixes}_`

const add = (service: Archive, list: ReturnType<typeof events>) => service.generator.addAll(list)

const mismatch = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.either(effect), (result) => Either.isLeft(result) ? result.left as any : undefined)

describe.each(backends.flatMap((a) => backends.map((h) => [a, h] as const)))("Archiving from %s to %s", (a, h) => {
  const active = withDatabase(a)
  const history = withDatabase(h)

  it("the history holds every event once, byte for byte", async () => {
    const places = { active: active(), history: history(), prefix: fresh() }
    await archiving(places, (service) =>
      Effect.gen(function*() {
        yield* service.generator.addAll([
          ...odd.map((data, i) =>
            Generator.event(Any, data, {
              ...(i % 2 === 0 ? { key: `k'\\"${i} 🔑 é` } : {}),
              correlationId: `c "${i}" \\ 👍`,
              ...(i === 1 ? { dedupeKey: "once" } : {})
            })
          ),
          ...events(300)
        ])
        const done = yield* service.archiver.once({ limit: 100 })
        expect(done).toMatchObject({ archived: 308, behind: 0, upTo: 308n })
        expect(yield* service.archiver.verify).toBe(308)
        // once more there is nothing to do
        expect(yield* service.archiver.once()).toMatchObject({ archived: 0, behind: 0, upTo: 308n })
        expect(yield* service.history.last).toEqual({ generation: 1, id: 308n })
      }))
    const { archived, log } = await both(places)
    expect(log).toHaveLength(308)
    expect(archived).toEqual(log)
  })
})

const pairs: ReadonlyArray<readonly [Backend, Backend]> = [
  ["sqlite", "sqlite"],
  ["postgres", "mysql"],
  ["mysql", "postgres"]
]
const available = pairs.filter((pair) => pair.every((backend) => backends.includes(backend)))

describe.each(available)("The archiver from %s to %s", (a, h) => {
  const active = withDatabase(a)
  const history = withDatabase(h)
  const places = (): Places => ({ active: active(), history: history(), prefix: fresh() })

  it("follows the stream, and says how far it is", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(250))
        const seen: Array<{ archived: number; upTo: bigint; behind: number }> = []
        const fiber = yield* Effect.fork(Stream.runForEach(service.archiver.progress({ limit: 100 }), (progress) =>
          Effect.sync(() => {
            seen.push(progress as any)
          })))
        const until = (n: number) =>
          Effect.gen(function*() {
            while (seen[seen.length - 1]?.archived !== n) {
              yield* Effect.sleep(10)
            }
          })
        yield* until(250)
        expect(seen.map(({ archived }) =>
          archived
        )).toEqual([100, 200, 250])
        expect(seen[0]!.behind).toBe(150)
        yield* add(service, events(10))
        yield* until(260)
        expect(seen[seen.length - 1]).toMatchObject({ upTo: 260n, behind: 0, remaining: 0 })
        expect((seen[seen.length - 1] as any).rate).toBeGreaterThan(0)
        yield* Fiber.interrupt(fiber)
      }))
  })

  it("one works, a second one stands by and takes over", async () => {
    const where = places()
    await archiving(where, (first) =>
      Effect.gen(function*() {
        const second = yield* opened(where)
        const log: Array<string> = []
        const start = (name: string, service: Archive) =>
          Effect.fork(Stream.runForEach(service.archiver.progress({ limit: 10 }), () =>
            Effect.sync(() => {
              log.push(name)
            })))
        const one = yield* start("one", first)
        yield* add(first, events(50))
        while (log.length < 5) yield* Effect.sleep(10)
        const two = yield* start("two", second)
        yield* Effect.sleep(200)
        yield* add(first, events(50))
        while (log.length < 10) yield* Effect.sleep(10)
        expect(log.every((name) => name === "one")).toBe(true)
        yield* Fiber.interrupt(one)
        yield* add(first, events(50))
        while (!log.includes("two")) yield* Effect.sleep(10)
        // nothing to do for a call beside the active one either: it ends when the other one has done it
        yield* first.archiver.once()
        expect(yield* first.archiver.verify).toBe(150)
        yield* Fiber.interrupt(two)
      }))
    const { archived, log } = await both(where)
    expect(archived).toEqual(log)
  })

  it("both sides are summed in the same way, in SQL and in hand", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* service.generator.addAll(
          odd.map((data, i) => Generator.event(Any, data, i % 2 === 0 ? { key: `é${i}` } : { correlationId: "👍" }))
        )
        yield* Effect.promise(() =>
          where.active.query(`UPDATE ${where.prefix}log SET meta = '{"redacted":true}' WHERE id = 3`)
        )
        yield* service.archiver.once()
        const rows = yield* service.historyStore.page({
          after: { generation: 1, id: 0n },
          upTo: undefined,
          limit: 1000
        })
        const sums = yield* service.historyStore.sums({ generation: 1, from: 1n, to: 8n })
        expect(sums).toEqual(sumsOf(rows))
        expect(sums).toMatchObject({ count: 8, redacted: 1 })
        expect(sums.bytes).toBeGreaterThan(64_000n)
      }))
  })

  it("a history of another stream is refused, and nothing is written", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* service.historyStore.claim({ stream: "00000000-0000-4000-8000-000000000000", since: 0n })
        yield* add(service, events(5))
        expect(yield* mismatch(service.archiver.once())).toMatchObject({ _tag: "HistoryMismatch", kind: "stream" })
        expect(yield* mismatch(service.archiver.run())).toMatchObject({ _tag: "HistoryMismatch", kind: "stream" })
      }))
    expect((await both(where)).archived).toEqual([])
  })

  it("events that the history has lost are archived again while they are in the log", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(30))
        yield* service.archiver.once()
        yield* Effect.promise(() => where.history.query(`DELETE FROM ${where.prefix}history WHERE id > 10`))
        yield* service.archiver.once({ limit: 7 })
        expect(yield* service.archiver.verify).toBe(30)
      }))
  })

  it("events that are lost for good are said with their range", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(30))
        yield* service.archiver.once()
        yield* Effect.promise(async () => {
          await where.history.query(`DELETE FROM ${where.prefix}history WHERE id > 10`)
          await where.active.query(`DELETE FROM ${where.prefix}log WHERE id <= 20`)
          await where.active.query(`UPDATE ${where.prefix}retention SET discarded_to = 20`)
        })
        expect(yield* mismatch(service.archiver.once())).toMatchObject({
          _tag: "HistoryMismatch",
          kind: "lost",
          after: 10n,
          upTo: 20n
        })
      }))
  })

  it("a new history begins with what is in the log, and an empty one in place of another is refused", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(30))
        yield* Effect.promise(async () => {
          await where.active.query(`DELETE FROM ${where.prefix}log WHERE id <= 20`)
          await where.active.query(`UPDATE ${where.prefix}retention SET discarded_to = 20`)
        })
        expect(yield* service.archiver.once()).toMatchObject({ archived: 10, upTo: 30n })
        expect(yield* service.archiver.once()).toMatchObject({ archived: 0, upTo: 30n })
        yield* Effect.promise(async () => {
          await where.history.query(`DELETE FROM ${where.prefix}history`)
          await where.history.query(`UPDATE ${where.prefix}history_meta SET stream = NULL, since = 0`)
        })
        expect(yield* mismatch(service.archiver.once())).toMatchObject({ kind: "lost", after: 0n, upTo: 20n })
        // on purpose
        yield* service.poller.unregister("ARCHIVER")
        expect(yield* service.archiver.once()).toMatchObject({ archived: 10, upTo: 30n })
        expect(yield* service.archiver.verify).toBe(10)
      }))
  })

  it("a history that is ahead of its stream is refused", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(10))
        yield* service.archiver.once()
        const [row] = yield* service.historyStore.page({
          after: { generation: 1, id: 9n },
          upTo: undefined,
          limit: 1
        })
        const ahead: HistoryStore.ArchivedEvent = { ...row!, id: 15n as any }
        yield* service.historyStore.append([ahead], { generation: 1, from: 15n, to: 15n })
        const found = yield* mismatch(service.archiver.once())
        expect(found).toMatchObject({ kind: "ahead", after: 10n, upTo: 15n })
        expect(found.message).toMatch(/evt restored/)
      }))
  })

  it("a generation has its ids for itself, and a batch of two is cut", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(10))
        yield* service.archiver.once()
        yield* add(service, events(10))
        // 15 ids were given, then the database was put back: as if those above 15 were of the next generation
        yield* Effect.promise(() =>
          where.active.query(`INSERT INTO ${where.prefix}generations (generation, after_id) VALUES (2, 15)`)
        )
        // ids that the first generation has given in the history only
        const [row] = yield* service.historyStore.page({
          after: { generation: 1, id: 9n },
          upTo: undefined,
          limit: 1
        })
        yield* service.historyStore.append([{ ...row!, id: 18n as any }], { generation: 1, from: 18n, to: 18n })
        yield* service.archiver.once()
        expect(yield* service.archiver.verify).toBe(20)
        expect(yield* service.historyStore.last(1)).toEqual({ generation: 1, id: 18n })
        expect(yield* service.history.last).toEqual({ generation: 2, id: 20n })
      }))
    const rows = await rowsOf(where.history, `${where.prefix}history`, "generation")
    expect(rows.map(({ generation, id }) => `${generation}/${id}`)).toEqual([
      ...range(15).map((id) => `1/${id}`),
      "1/18",
      ...range(5).map((i) => `2/${15 + i}`)
    ])
  })

  it("an event that differs is an error of its batch, and one that was changed later is found by verify", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(20))
        yield* service.archiver.once()
        yield* Effect.promise(() =>
          where.history.query(`UPDATE ${where.prefix}history SET data = '{"n":0}' WHERE id = 7`)
        )
        expect(yield* mismatch(service.archiver.verify)).toMatchObject({ kind: "differs", after: 6n, upTo: 7n })
        // sent again, as after a kill between the two commits
        yield* Effect.promise(async () => {
          await where.history.query(`UPDATE ${where.prefix}history SET data = '{"n":0000}' WHERE id = 7`)
          await where.active.query(`UPDATE ${where.prefix}consumers SET last_evt_id = 5`)
        })
        expect(yield* mismatch(service.archiver.once())).toMatchObject({ kind: "differs", after: 5n, upTo: 20n })
        const [row] = yield* Effect.promise(() =>
          where.active.query(`SELECT last_evt_id FROM ${where.prefix}consumers`)
        )
        expect(Number(row.last_evt_id)).toBe(5)
      }))
  })

  it("what was erased in the stream while it was archived is erased in the history, and equal", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        // as long as what is left of it: lengths alone would not tell
        yield* service.generator.addAll([
          Generator.event(Any, "seventeen letters"),
          Generator.event(Any, { n: 2 }, { key: "somebody" }),
          Generator.event(Any, { n: 3 })
        ])
        const erase = () =>
          where.active.query(
            `UPDATE ${where.prefix}log SET data = 'null', meta = '{"redacted":true}', event_key = NULL WHERE id <= 2`
          )
        let appended = 0
        const racing: HistoryStore.Service = {
          ...service.historyStore,
          // erased after the batch was read, before the history has it
          append: (events, range) =>
            Effect.zipRight(
              Effect.promise(() => appended++ === 0 ? erase() : Promise.resolve([])),
              service.historyStore
                .append(events, range)
            )
        }
        yield* makeArchiver(service.source, racing).once({ limit: 1 })
        expect(appended).toBe(3)
        expect(yield* service.archiver.verify).toBe(3)
        const stored = yield* Effect.promise(() => rowsOf(where.history, `${where.prefix}history`))
        expect(stored.map(({ data }) => data)).toEqual(["null", "null", "{\"n\":3}"])
        expect(stored[1]).toMatchObject({ event_key: null, meta: "{\"redacted\":true}" })
        expect(yield* service.historyStore.redact({ ids: [1n, 3n, 99n] })).toBe(2)
      }))
  })

  it("a source that cannot sum by SQL is summed by what was received", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(25))
        const archiver = makeArchiver({ ...service.source, sums: undefined }, service.historyStore)
        expect(yield* archiver.once({ limit: 10 })).toMatchObject({ archived: 25 })
        yield* Effect.promise(async () => {
          await where.history.query(`UPDATE ${where.prefix}history SET data = '{"n":0000}' WHERE id = 7`)
          await where.active.query(`UPDATE ${where.prefix}consumers SET last_evt_id = 5`)
        })
        expect(yield* mismatch(archiver.once())).toMatchObject({ kind: "differs" })
      }))
  })

  it("interrupted, the batch in hand is finished or not begun", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        yield* add(service, events(60))
        const written: Array<bigint> = []
        const slow: HistoryStore.Service = {
          ...service.historyStore,
          append: (events, range) =>
            Effect.tap(Effect.zipRight(Effect.sleep(100), service.historyStore.append(events, range)), () =>
              Effect.sync(() => {
                written.push(range.to)
              }))
        }
        for (let round = 1; round <= 3; round++) {
          const fiber = yield* Effect.fork(makeArchiver(service.source, slow).run({ limit: 10 }))
          while (written.length < round * 2 - 1) {
            yield* Effect.sleep(5)
          }
          // in the next one
          yield* Effect.sleep(50)
          yield* Fiber.interrupt(fiber)
          const { cursor } = yield* service.source.look
          expect(cursor).toBe(written[written.length - 1])
        }
        expect(written).toEqual([10n, 20n, 30n, 40n, 50n, 60n])
      }))
  })

  it("is no part of a transaction, of neither database", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* service.generator.add(Other, { n: 1 })
        const inside = yield* mismatch(sql.withTransaction(service.archiver.once()))
        expect(inside).toMatchObject({ _tag: "InsideTransaction" })
        yield* service.archiver.once()
        // read inside a transaction of the stream, and written, too: on a connection of its own
        yield* Effect.ignore(sql.withTransaction(Effect.gen(function*() {
          expect(yield* service.history.last).toEqual({ generation: 1, id: 1n })
          yield* service.historyStore.redact({ ids: [1n] })
          return yield* Effect.fail("rolled back")
        })))
      }))
    expect((await rowsOf(where.history, `${where.prefix}history`))[0]).toMatchObject({ data: "null" })
  })

  it("a bad limit is refused", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        for (const limit of [0, 1001, 1.5]) {
          expect(yield* mismatch(service.archiver.once({ limit }))).toMatchObject({ _tag: "InvalidOption" })
        }
      }))
  })
})
