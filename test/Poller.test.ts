import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { Delivery, EventType, Generator, Poller } from "../src/index.js"
import { Added, Gone, onEach, services } from "./support/stream.js"

const ids = (events: ReadonlyArray<{ readonly _tag: string; readonly data?: any }>) => events.map((e) => e.data.id)
const gone = (n: number, from = 1) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: from + i }))
const added = (n: number, from = 1) =>
  Array.from({ length: n }, (_, i) => Generator.event(Added, { id: from + i, email: "" }))

onEach("Poller", ({ db, prefix, run, via }) => {
  it("a poll alone acknowledges nothing; lastId acknowledges everything up to it", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        expect(yield* poller.register("C")).toBeUndefined()
        yield* generator.addAll(gone(5))
        const first = yield* poller.poll("C", { want: [Gone], limit: 2 })
        expect(ids(first.events)).toEqual([1, 2])
        expect(first).toMatchObject({ upTo: 2n, generation: 1 })
        expect(ids((yield* poller.poll("C", { want: [Gone], limit: 2 })).events)).toEqual([1, 2])
        const second = yield* poller.poll("C", { want: [Gone], limit: 2, lastId: first.upTo! })
        expect(ids(second.events)).toEqual([3, 4])
        // the cursor never goes back, whatever id is given
        expect(ids((yield* poller.poll("C", { want: [Gone], lastId: 1 })).events)).toEqual([3, 4, 5])
        expect(ids((yield* poller.poll("C", { want: [Gone] })).events)).toEqual([3, 4, 5])
        expect((yield* poller.poll("C", { lastId: "5" })).events).toEqual([])
      }),
      { prefix: prefix() }
    )
  })

  // over the network everybody has its own user
  if (via === "here") {
    it("consumers, users and LIVE do not know of each other", async () => {
      await run(
        Effect.gen(function*() {
          const { generator, poller } = yield* services
          yield* poller.register("C")
          yield* poller.register({ user: "other@example.org", component: "C" })
          yield* generator.addAll(gone(3))
          yield* poller.poll("C", { lastId: 3 })
          expect((yield* poller.poll({ user: "local", component: "C" })).events).toEqual([])
          expect((yield* poller.poll({ user: "other@example.org", component: "C" })).events.length).toBe(3)
          expect((yield* poller.poll("LIVE")).events.length).toBe(3)
          expect((yield* poller.poll("LIVE", { lastId: 2 })).events.length).toBe(1)
        }),
        { prefix: prefix() }
      )
    })
  }

  it("what is not wanted counts as delivered once the cursor passes it", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.addAll([...gone(3), ...added(2), ...gone(3)])
        const batch = yield* poller.poll("C", { want: [Added] })
        expect(ids(batch.events)).toEqual([1, 2])
        expect(batch.upTo).toBe(8n)
        const limited = yield* poller.poll("C", { want: [Added], limit: 1 })
        expect(limited.upTo).toBe(4n)
        expect((yield* poller.poll("C", { want: ["USR_DEL", "USR_ADD"], limit: 3 })).events.length).toBe(3)
        expect(yield* poller.poll("C", { want: [], lastId: 4 })).toMatchObject({ events: [], upTo: 8n })
      }),
      { prefix: prefix() }
    )
  })

  it("an empty filtered poll moves the cursor by itself, but never past what was offered", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* poller.register("D")
        yield* generator.addAll([...gone(3), ...added(1)])
        const cursor = (component: string) =>
          Effect.map(
            Effect.promise(() =>
              db().query(`SELECT last_evt_id AS id FROM ${p}consumers WHERE ident = 'local:${component}'`)
            ),
            ([row]) => Number(row.id)
          )
        yield* poller.poll("C", { want: ["NONE"] })
        expect(yield* cursor("C")).toBe(4)
        yield* poller.poll("D", { want: [Added] })
        yield* poller.poll("D", { want: ["NONE"] })
        expect(yield* cursor("D")).toBe(0)
        yield* poller.poll("D", { want: ["NONE"], lastId: 4 })
        expect(yield* cursor("D")).toBe(4)
      }),
      { prefix: p }
    )
  })

  it("a poll looks at 10 000 rows at most, whatever is wanted", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.transaction(generator.emitAll(gone(12_000)))
        yield* generator.addAll(added(1))
        yield* generator.addAll(added(1))
        expect(yield* poller.poll("LIVE", { want: [Added] })).toMatchObject({ events: [], upTo: 10_000n })
        const rest = yield* poller.poll("LIVE", { want: [Added], lastId: 10_000n })
        expect(rest.events.length).toBe(2)
        expect((yield* poller.poll("LIVE")).events.length).toBe(1000)
      }),
      { prefix: prefix() }
    )
  })

  it("registration starts where it is told to, and once registered stays as it is", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.addAll(gone(2))
        yield* Effect.sleep(20)
        const between = new Date()
        yield* Effect.sleep(20)
        yield* generator.addAll(gone(2, 3))
        expect(yield* poller.register("A")).toBeUndefined()
        expect(yield* poller.register("B", { from: "end" })).toBe(4n)
        expect(yield* poller.register("C", { from: { after: 3 } })).toBe(3n)
        expect(yield* poller.register("D", { from: { time: between } })).toBe(2n)
        expect(yield* poller.register("E", { from: { time: new Date(Date.now() + 60_000) } })).toBe(4n)
        expect(yield* poller.register("B")).toBe(4n)
        expect(ids((yield* poller.poll("D", { want: [Gone] })).events)).toEqual([3, 4])
        yield* poller.unregister("B")
        expect(yield* Effect.flip(poller.poll("B"))).toMatchObject({ _tag: "NotRegistered", consumer: "local:B" })
        expect(yield* Effect.flip(poller.unregister("B"))).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* Effect.flip(poller.register("F", { from: { after: 5 } }))).toMatchObject({
          _tag: "CursorAhead",
          cursor: 5n,
          head: 4n
        })
      }),
      { prefix: prefix() }
    )
  })

  it("a cursor ahead of the stream and a foreign generation are errors, never silence", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(3))
        expect(yield* Effect.flip(poller.poll("C", { lastId: 4 }))).toMatchObject({
          _tag: "CursorAhead",
          cursor: 4n,
          head: 3n
        })
        expect(yield* Effect.flip(poller.poll("LIVE", { lastId: "999999999999999999" }))).toMatchObject({
          _tag: "CursorAhead"
        })
        expect(yield* Effect.flip(poller.poll("C", { generation: 2 }))).toMatchObject({
          _tag: "StreamChanged",
          ours: 1,
          theirs: 2
        })
        // nothing was acknowledged by all that
        expect((yield* poller.poll("C", { generation: 1 })).events.length).toBe(3)
        yield* Effect.promise(() => db().query(`UPDATE ${p}consumers SET last_evt_id = 100`))
        expect(yield* Effect.flip(poller.poll("C"))).toMatchObject({ _tag: "CursorAhead", cursor: 100n })
      }),
      { prefix: p }
    )
  })

  it("old versions are upcast; newer ones and broken data are Undecodable; other types are Unknown", async () => {
    const v1 = EventType.make("VERSIONED", Schema.Struct({ name: Schema.String }))
    const v3 = EventType.make("VERSIONED", Schema.Struct({ first: Schema.String, n: Schema.Int }), {
      version: 3,
      upcast: { 1: (old: { name: string }) => ({ first: old.name }), 2: (old: any) => ({ ...old, n: 0 }) }
    })
    const wrong = EventType.make("VERSIONED", Schema.Struct({ other: Schema.Int }))
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.add(v1, { name: "a" })
        yield* generator.add(v3, { first: "b", n: 2 })
        yield* generator.add(Gone, { id: 1 })
        const now = yield* poller.poll("LIVE", { catalog: EventType.catalog(v3) })
        expect(now.events.map((e) => e._tag)).toEqual(["Known", "Known", "Unknown"])
        expect(now.events.map((e) => e._tag === "Undecodable" ? e.issue : e.data)).toEqual([
          { first: "a", n: 0 },
          { first: "b", n: 2 },
          { id: 1 }
        ])
        const before = yield* poller.poll("LIVE", { want: [v1, "USR_DEL"] })
        expect(before.events.map((e) => e._tag)).toEqual(["Known", "Undecodable", "Unknown"])
        expect(before.events[1]).toMatchObject({ issue: "version 3 of VERSIONED is newer than version 1 known here" })
        const broken = yield* poller.poll("LIVE", { want: [wrong] })
        expect(broken.events[0]).toMatchObject({ _tag: "Undecodable", type: "VERSIONED", json: `{"name":"a"}` })
      }),
      { prefix: prefix() }
    )
  })

  it("the types of what is read follow what is wanted", () => {
    const check = (poller: Poller.Service) => {
      const one = poller.poll("LIVE", { want: [Added] })
      const two = poller.poll("LIVE", { want: [Added, Gone] })
      const named = poller.poll("LIVE", { want: ["OTHER"] })
      const all = poller.poll("LIVE", { catalog: EventType.catalog(Added, Gone) })
      type Of<T> = T extends Effect.Effect<Poller.Batch<infer E>, any, any> ? E : never
      const typed: [
        Extract<Of<typeof one>, { _tag: "Known" }>["data"]["email"],
        Of<typeof two>["type"],
        Of<typeof named>["_tag"],
        Of<typeof all>["_tag"]
      ] = ["", "USR_DEL", "Unknown", "Undecodable"]
      // @ts-expect-error a declaration that is not wanted cannot come
      const never: Of<typeof one>["type"] = "USR_DEL"
      // @ts-expect-error emit is checked by the compiler
      Generator.event(Added, { id: "1", email: "" })
      return [typed, never]
    }
    expect(check).toBeTypeOf("function")
  })
}, { remote: true })

onEach("A consumer as a Stream", ({ prefix, run }) => {
  it("delivers history and what comes later, and acknowledges after the handler", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.transaction(generator.emitAll(gone(2500)))
        const seen: Array<number> = []
        const fiber = yield* poller.stream("C", { want: [Gone], register: {} }).pipe(
          Delivery.handle((events) => Effect.sync(() => void seen.push(...ids(events)))),
          Stream.takeUntil(() => seen.length >= 2600),
          Stream.runDrain,
          Effect.fork
        )
        for (let i = 0; i < 100; i++) yield* generator.transaction(generator.emit(Gone, { id: 2501 + i }))
        yield* Fiber.join(fiber)
        expect(seen).toEqual(Array.from({ length: 2600 }, (_, i) => i + 1))
        expect((yield* poller.poll("C")).events).toEqual([])
      }),
      { prefix: prefix() }
    )
  })

  it("a handler that fails ends the stream, and its batch is delivered again", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.addAll(gone(5))
        const attempt = (fail: number) => {
          const seen: Array<number> = []
          return poller.stream("C", { want: [Gone], register: {}, limit: 2 }).pipe(
            Delivery.handle((events) => {
              seen.push(...ids(events))
              return seen.includes(fail) ? Effect.fail(`at ${fail}`) : Effect.void
            }),
            Stream.takeUntil(() => seen.length >= 3),
            Stream.runDrain,
            Effect.either,
            Effect.map((end) => [seen, end._tag] as const)
          )
        }
        expect(yield* attempt(3)).toEqual([[1, 2, 3, 4], "Left"])
        expect(yield* attempt(0)).toEqual([[3, 4, 5], "Right"])
      }),
      { prefix: prefix() }
    )
  })

  it("types that are not wanted are passed without calling the handler", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* generator.transaction(generator.emitAll(added(12_000)))
        yield* generator.add(Gone, { id: 1 })
        const sizes = yield* poller.stream("C", { want: [Gone], register: {} }).pipe(
          Delivery.handle((events) => Effect.succeed(events.length)),
          Stream.take(1),
          Stream.runCollect
        )
        expect([...sizes]).toEqual([1])
      }),
      { prefix: prefix() }
    )
  })

  it("needs a registration, a component that is not LIVE, and ends when it is removed", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const first = (component: string) => Effect.flip(Stream.runDrain(poller.stream(component)))
        expect(yield* first("C")).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* first("LIVE")).toMatchObject({ _tag: "LiveNotAllowed" })
        yield* poller.register("C")
        const fiber = yield* Effect.fork(first("C"))
        yield* Effect.sleep(50)
        yield* poller.unregister("C")
        yield* generator.add(Gone, { id: 1 })
        expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "NotRegistered" })
      }),
      { prefix: prefix() }
    )
  })
}, { remote: true })
