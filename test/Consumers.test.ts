import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { expect, it } from "vitest"
import { Consumers, EventType, Generator } from "../src/index.js"
import { Gone, onEach, services } from "./support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ email: Schema.String, n: Schema.Int }), {
  key: ({ email }) => email
})
const gone = (n: number, from = 1) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: from + i }))
const numbers = (events: ReadonlyArray<any>): ReadonlyArray<number> => events.map(({ data }) => data.id)

onEach("Consumers", ({ db, prefix, run, via }) => {
  // over the network everybody has its own user, under which it is in the audit
  const another = via === "here" ? "x@y.z" : "local"
  const by = (actor: string) => via === "here" ? actor : "rpc:local"

  it("list says where each consumer is, how far behind, and who has it", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        expect(yield* consumers.list).toEqual([])
        yield* poller.register("A")
        yield* poller.register({ user: another, component: "B" }, { mode: "exclusive" })
        yield* generator.addAll(gone(10))
        yield* poller.poll("A", { lastId: 4 })
        yield* Effect.sleep(20)
        const receiver = yield* Effect.fork(pusher.run("A", () => Effect.never, { limit: 1 }))
        const listed = () => consumers.list
        let infos = yield* listed()
        while (infos[0]!.state !== "active") infos = yield* listed()
        expect(infos.map(({ consumer }) => consumer)).toEqual(["local:A", `${another}:B`])
        const [a, b] = infos
        expect(a).toMatchObject({
          user: "local",
          component: "A",
          cursor: 4n,
          exclusive: false,
          deadLetters: 0,
          parked: 0
        })
        expect(a!.lag.events).toBe(6)
        expect(a!.lag.seconds).toBeGreaterThan(0)
        expect(a!.lease!.expiresIn).toBeGreaterThan(0)
        expect(Math.abs(a!.registeredAt.getTime() - Date.now())).toBeLessThan(60_000)
        expect(b).toMatchObject({ user: another, cursor: undefined, state: "idle", lease: undefined, exclusive: true })
        expect(b!.lag.events).toBe(10)
        yield* Fiber.interrupt(receiver)
        yield* consumers.pause("A", "to look at it")
        expect((yield* consumers.list)[0]).toMatchObject({ state: "paused", paused: "to look at it" })
        yield* poller.poll({ user: another, component: "B" }).pipe(Effect.flip)
      }),
      { prefix: p }
    )
  })

  it("an exclusive consumer is moved by the receiver with the lease only", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* poller.register("X", { mode: "exclusive" })
        yield* generator.addAll(gone(3))
        expect(yield* Effect.flip(poller.poll("X", { lastId: 2 }))).toMatchObject({ _tag: "ConsumerExclusive" })
        const seen: Array<number> = []
        const receiver = yield* Effect.fork(
          pusher.run("X", (event) => Effect.sync(() => seen.push(Number(event.id))))
        )
        while (seen.length < 3) yield* Effect.sleep(5)
        yield* Fiber.interrupt(receiver)
        expect(seen).toEqual([1, 2, 3])
      }),
      { prefix: prefix() }
    )
  })

  it("reset moves the cursor both ways, a receiver at work goes on from there", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(10))
        const seen: Array<number> = []
        const receiver = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.sync(() => {
            if (event._tag === "Known") seen.push(event.data.id)
          }), { want: [Gone] }))
        while (seen.length < 10) yield* Effect.sleep(5)
        expect(yield* consumers.reset("C", { after: 7 })).toBe(7n)
        // fenced out at its next commit
        yield* generator.addAll(gone(1, 11))
        while (!seen.slice(10).includes(11) || !seen.slice(10).includes(8)) yield* Effect.sleep(5)
        yield* Effect.sleep(100)
        yield* Fiber.interrupt(receiver)
        expect(seen.slice(0, 10)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        const again = seen.slice(10)
        expect(again.slice(again.indexOf(8))).toEqual([8, 9, 10, 11])
        expect(yield* consumers.reset("C", "end")).toBe(11n)
        expect((yield* poller.poll("C")).events).toEqual([])
        expect(yield* consumers.reset("C", "beginning")).toBe(undefined)
        expect(numbers((yield* poller.poll("C", { want: [Gone] })).events)).toEqual([
          1,
          2,
          3,
          4,
          5,
          6,
          7,
          8,
          9,
          10,
          11
        ])
        yield* consumers.reset("C", { time: new Date(Date.now() - 3_600_000) })
        expect((yield* poller.poll("C")).events.length).toBe(11)
        yield* consumers.reset("C", { time: new Date(Date.now() + 3_600_000) })
        expect((yield* poller.poll("C")).events.length).toBe(0)
        expect(yield* Effect.flip(consumers.reset("C", { after: 12 }))).toMatchObject({ _tag: "CursorAhead" })
        expect(yield* Effect.flip(consumers.reset("NOBODY", "end"))).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* Effect.flip(consumers.reset("LIVE", "end"))).toMatchObject({ _tag: "LiveNotAllowed" })
        expect(yield* Effect.flip(consumers.reset("C", { time: new Date(NaN) }))).toMatchObject({
          _tag: "InvalidOption"
        })
      }),
      { prefix: prefix(), pusher: { leaseTtl: "1 second" } }
    )
  })

  it("reset does not go where events were discarded, nor an archiver forward", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller } = yield* services
        yield* poller.register("C")
        yield* poller.register("ARCHIVER")
        yield* generator.addAll(gone(10))
        yield* Effect.promise(() => db().query(`DELETE FROM ${p}log WHERE id <= 5`))
        yield* Effect.promise(() => db().query(`UPDATE ${p}retention SET discarded_to = 5`))
        expect(yield* Effect.flip(consumers.reset("C", { after: 4 }))).toMatchObject({
          _tag: "EventsDiscarded",
          after: 4n,
          discardedTo: 5n
        })
        expect(yield* consumers.reset("C", { after: 5 })).toBe(5n)
        expect(yield* consumers.reset("C", "beginning")).toBe(5n)
        yield* poller.poll("ARCHIVER", { lastId: 8 })
        expect(yield* Effect.flip(consumers.reset("ARCHIVER", "end"))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* Effect.flip(consumers.reset("ARCHIVER", { after: 9 }))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* consumers.reset("ARCHIVER", { after: 7 })).toBe(7n)
      }),
      { prefix: p }
    )
  })

  it("remove unregisters, keeps or drops the dead letters; of an archiver it is kept how far it had come", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(2))
        const run = Effect.fork(pusher.run("C", () => Effect.fail("no"), {
          poison: "deadLetter",
          retry: Schedule.stop,
          register: {}
        }))
        const letters = consumers.deadLetters("C")
        const first = yield* run
        while ((yield* letters).length < 2) yield* Effect.sleep(5)
        yield* Fiber.interrupt(first)
        yield* consumers.remove("C")
        expect((yield* letters).length).toBe(2)
        expect(yield* Effect.flip(consumers.remove("C"))).toMatchObject({ _tag: "NotRegistered" })
        yield* poller.register("C", { from: "end" })
        yield* consumers.remove("C", { deadLetters: "drop" })
        expect(yield* letters).toEqual([])
        yield* poller.register("ARCHIVER")
        yield* poller.poll("ARCHIVER", { lastId: 2 })
        yield* poller.unregister("ARCHIVER")
        yield* poller.register("ARCHIVER", { from: "beginning" })
        yield* consumers.remove("ARCHIVER")
        const [row] = yield* Effect.promise(() => db().query(`SELECT archive_required, archived_to FROM ${p}retention`))
        expect([Number(row.archive_required), Number(row.archived_to)]).toEqual([1, 2])
      }),
      { prefix: p }
    )
  })

  it("redact erases data, key and meta; readers are told, the managed loop passes over it", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(
          [1, 2, 3, 4].map((n) =>
            Generator.event(Keyed, { email: n === 4 ? "grace@example.org" : "ada@example.org", n }, {
              correlationId: n === 4 ? "an order" : "ada's order",
              dedupeKey: n === 4 ? "grace" : `ada-${n}`
            })
          )
        )
        // committed, and not sequenced by anybody yet
        yield* generator.transaction(generator.emit(Keyed, { email: "ada@example.org", n: 5 }))
        yield* pusher.run(
          "C",
          (event) => event._tag === "Known" && event.data.n === 2 ? Effect.fail("no") : Effect.void,
          {
            want: [Keyed],
            poison: "parkKey",
            retry: Schedule.stop
          }
        ).pipe(
          Effect.fork,
          Effect.flatMap((fiber) =>
            Effect.gen(function*() {
              while ((yield* consumers.deadLetters("C")).length < 3) yield* Effect.sleep(5)
              yield* Fiber.interrupt(fiber)
            })
          )
        )
        yield* consumers.reset("C", "beginning")
        expect(yield* consumers.redact({ ids: [1] })).toEqual({ log: 1, deadLetters: 0, history: undefined })
        expect(yield* consumers.redact({ key: "ada@example.org" })).toEqual({
          log: 3,
          deadLetters: 3,
          history: undefined
        })
        expect(yield* consumers.redact({ key: "ada@example.org" })).toMatchObject({ log: 0 })
        const { events } = yield* poller.poll("C", { want: [Keyed] })
        expect(events.map((e) => [e._tag, e.redacted, e.key])).toEqual([
          ["Undecodable", true, null],
          ["Undecodable", true, null],
          ["Undecodable", true, null],
          ["Known", false, "grace@example.org"],
          ["Undecodable", true, null]
        ])
        const tables = ["log", "dead_letters", "audit", "queue"]
        for (const table of tables) {
          const rows = yield* Effect.promise(() => db().query(`SELECT * FROM ${p}${table}`))
          expect(JSON.stringify(rows, (_, v) => typeof v === "bigint" ? `${v}` : v)).not.toMatch(/ada[@'-]/)
        }
        expect(yield* Effect.flip(consumers.redact({ ids: [] }))).toMatchObject({ _tag: "InvalidOption" })
      }),
      { prefix: p }
    )
    // what this process has read before is in its memory: as another one
    await run(
      Effect.gen(function*() {
        // poison is "stop": were they handled, the run would end
        const { consumers, pusher } = yield* services
        const seen: Array<number> = []
        const fiber = yield* Effect.fork(
          pusher.run("C", (event) => Effect.sync(() => event._tag === "Known" && seen.push(event.data.n)), {
            want: [Keyed]
          })
        )
        while ((yield* consumers.list)[0]!.lag.events > 0) yield* Effect.sleep(5)
        yield* Fiber.interrupt(fiber)
        expect(seen).toEqual([4])
      }),
      { prefix: p }
    )
  })

  it("everything that is done is recorded, with who did it", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(3))
        yield* consumers.reset("C", { after: 2 })
        yield* consumers.pause("C", "why'\\ 😀").pipe(Effect.provideService(Consumers.Actor, "o'neil"))
        yield* consumers.resume("C")
        yield* consumers.redrive("C")
        yield* consumers.drop("C", "all")
        yield* consumers.redact({ ids: [1, 2] })
        yield* consumers.remove("C")
        yield* Effect.flip(consumers.remove("C"))
        const entries = yield* consumers.audit()
        expect(entries.map(({ action, actor, consumer }) => [action, actor, consumer])).toEqual([
          ["remove", by("local"), "local:C"],
          ["redact", by("local"), undefined],
          ["drop", by("local"), "local:C"],
          ["redrive", by("local"), "local:C"],
          ["resume", by("local"), "local:C"],
          ["pause", by("o'neil"), "local:C"],
          ["reset", by("local"), "local:C"]
        ])
        expect(entries[6]!.detail).toEqual({ from: "0", to: { after: via === "here" ? 2 : "2" } })
        expect(entries[5]!.detail).toEqual({ why: "why'\\ 😀" })
        expect(entries[1]!.detail).toEqual({ ids: ["1", "2"] })
        expect(Math.abs(entries[0]!.at.getTime() - Date.now())).toBeLessThan(60_000)
        expect((yield* consumers.audit({ consumer: "C", limit: 2, before: entries[0]!.id })).map((e) => e.action))
          .toEqual(["drop", "redrive"])
      }),
      { prefix: prefix() }
    )
  })
}, { remote: true })
