import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { EventType } from "../src/index.js"
import { Gone, onEach, services } from "./support/stream.js"

const Any = EventType.make("ANY", Schema.Any)

onEach("Bad input gets its own error before anything is written", ({ prefix, run }) => {
  it("data that JSON cannot hold, that does not fit, or is too long", async () => {
    const cycle: any = { a: {} }
    cycle.a.b = cycle
    const bad: ReadonlyArray<readonly [unknown, RegExp]> = [
      [undefined, /undefined/],
      [{ a: undefined }, /undefined at \.a/],
      [[1, , 3], /undefined at \[1\]/], // eslint-disable-line no-sparse-arrays
      [{ price: NaN }, /NaN at \.price/],
      [Infinity, /Infinity/],
      [{ n: 1n }, /bigint at \.n/],
      [cycle, /cycle at \.a\.b/],
      [{ "a b": () => 1 }, /function at \["a b"\]/],
      [Symbol("x"), /symbol/],
      [new Map(), /Map/],
      [{ at: new Date(0) }, /Date with toJSON at \.at/],
      ["x".repeat(1001), /1003 bytes.*1000/],
      ["😀".repeat(250), /1002 bytes/]
    ]
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        for (const [data, reason] of bad) {
          const attempts: ReadonlyArray<Effect.Effect<unknown, Error>> = [
            generator.transaction(generator.emit(Any, data)),
            generator.add(Any, data)
          ]
          for (const effect of attempts) {
            const error = yield* Effect.flip(effect)
            expect(error).toMatchObject({ _tag: "InvalidEvent", type: "ANY", part: "data" })
            expect(error.message).toMatch(reason)
          }
        }
        const misfit = yield* Effect.flip(generator.add(Gone, { id: "1" } as any))
        expect(misfit).toMatchObject({ _tag: "InvalidEvent", part: "data" })
        expect(misfit.message).toMatch(/Expected .*actual "1"/s)
        // one bad event of many: none is written
        expect(
          yield* Effect.flip(generator.transaction(generator.emitAll([
            { type: Gone, data: { id: 1 }, options: undefined },
            { type: Gone, data: {}, options: undefined }
          ])))
        ).toMatchObject({ _tag: "InvalidEvent" })
        expect((yield* poller.poll("LIVE")).events).toEqual([])
      }),
      { prefix: prefix(), maxDataBytes: 1000 }
    )
  })

  it("keys and dedupe keys of the wrong form", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        for (const key of ["", "x".repeat(256), "a\u0000", "\ud800", 5 as any]) {
          expect(yield* Effect.flip(generator.add(Gone, { id: 1 }, { key }))).toMatchObject({ part: "key" })
          expect(yield* Effect.flip(generator.add(Gone, { id: 1 }, { dedupeKey: key }))).toMatchObject({
            part: "dedupeKey"
          })
        }
        expect(yield* generator.add(Gone, { id: 1 }, { key: "😀".repeat(127), dedupeKey: "x".repeat(255) })).toBe(1n)
      }),
      { prefix: prefix() }
    )
  })

  it("consumers, ids, limits and wants of the wrong form", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.add(Gone, { id: 1 })
        yield* poller.register("C")
        for (const component of ["", "x".repeat(17), "a-b", "a b", "ä", 5 as any]) {
          const error = yield* Effect.flip(poller.register(component))
          expect(error).toMatchObject({ _tag: "InvalidConsumer", part: "component" })
        }
        expect(yield* Effect.flip(poller.poll({ user: "a:b", component: "C" }))).toMatchObject({ part: "user" })
        expect(yield* Effect.flip(poller.poll("UNKNOWN"))).toMatchObject({
          _tag: "NotRegistered",
          consumer: "local:UNKNOWN"
        })
        expect(yield* Effect.flip(poller.register("LIVE"))).toMatchObject({ _tag: "LiveNotAllowed" })
        expect(yield* Effect.flip(poller.unregister("LIVE"))).toMatchObject({ _tag: "LiveNotAllowed" })
        const badIds = [
          -1,
          0,
          1.5,
          NaN,
          2 ** 53,
          "0",
          "-1",
          "",
          "1e3",
          "abc",
          " 1",
          "1".repeat(30),
          0n,
          -1n,
          10n ** 18n,
          null,
          {}
        ]
        for (const lastId of badIds) {
          const error = yield* Effect.flip(poller.poll("C", { lastId: lastId as any }))
          expect(error).toMatchObject({ _tag: "InvalidOption", option: "lastId" })
        }
        for (const limit of [0, 1001, -1, 1.5, NaN, "5" as any]) {
          expect(yield* Effect.flip(poller.poll("C", { limit }))).toMatchObject({
            _tag: "InvalidOption",
            option: "limit"
          })
        }
        for (const type of ["lower", "x".repeat(70).toUpperCase(), "", "A'B", "1A"]) {
          expect(yield* Effect.flip(poller.poll("C", { want: [type] }))).toMatchObject({ option: "want" })
        }
        expect(yield* Effect.flip(poller.register("D", { from: { time: new Date(NaN) } }))).toMatchObject({
          option: "from.time"
        })
        expect(yield* Effect.flip(poller.register("D", { from: { after: 0 } }))).toMatchObject({ option: "from.after" })
        // nothing of all that moved anything
        expect((yield* poller.poll("C")).events.length).toBe(1)
      }),
      { prefix: prefix() }
    )
  })

  it("options of the layer", async () => {
    for (const prefix of ["", "1a", "A", "a-b", "a".repeat(32), "a\"; DROP TABLE x"]) {
      await expect(run(SqlClient.SqlClient, { prefix })).rejects.toThrow(/prefix must be/)
    }
    for (const maxDataBytes of [0, -1, 4 * 1024 * 1024 + 1, NaN]) {
      await expect(run(SqlClient.SqlClient, { maxDataBytes })).rejects.toThrow(/maxDataBytes must be/)
    }
    await expect(run(SqlClient.SqlClient, { schema: "a\"b" })).rejects.toThrow(/schema must be/)
  })
})

describe("Declarations", () => {
  it("are refused when they are wrong", () => {
    for (const name of ["lower", "", "x".repeat(65), "A B", "1A", "Ä"]) {
      expect(() => EventType.make(name, Schema.Any)).toThrow(/must match/)
    }
    expect(() => EventType.make("A", Schema.Any, { version: 0 })).toThrow(/version/)
    expect(() => EventType.make("A", Schema.Any, { version: 3, upcast: { 1: (x: any) => x } })).toThrow(/upcast\[2\]/)
    expect(() => EventType.catalog(Gone, Gone)).toThrow(/two declarations/)
    expect(EventType.make("_A".padEnd(64, "X"), Schema.Any).name.length).toBe(64)
  })
})
