/** What becomes of events that cannot be handled: parked keys, pauses, dead letters, and delivering them again. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { EventType, Generator, type Pusher } from "../src/index.js"
import { Added, Gone, onEach, services } from "./support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })
type Keyed = { readonly key: string; readonly n: number }

/** `a1 b2`: event 1 of key a, event 2 of key b. */
const keyed = (text: string) =>
  text.split(" ").map((word) => Generator.event(Keyed, { key: word[0]!, n: Number(word.slice(1)) }))
const name = ({ key, n }: Keyed) => `${key}${n}`
const gone = (n: number) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: i + 1 }))

/** A receiver that hears of what an administrator does soon. */
const soon = { pusher: { leaseTtl: "1 second" } } as const
const retry = Schedule.recurs(1)

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (is) => is, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.timeout("20 seconds")
  )

/** A consumer `C` that fails on what is broken, and remembers what it handled. */
const receiver = (options: Pusher.RunOptions<any, any> = {}) => {
  const broken = new Set<string>()
  /** Without repeats: what is changed while a receiver is at work makes it start again. */
  const handled: Array<string> = []
  const calls: Array<string> = []
  const handle = (event: any): Effect.Effect<void, string> =>
    Effect.suspend(() => {
      const what = event._tag === "Known" ? name(event.data) : event._tag
      calls.push(what)
      if (broken.has(what)) return Effect.fail(`${what} is broken`)
      if (!handled.includes(what)) handled.push(what)
      return Effect.void
    })
  const start = Effect.flatMap(services, ({ pusher }) =>
    Effect.fork(
      pusher.run("C", handle, { want: [Keyed], register: {}, retry, poison: "parkKey", ...options })
    ))
  const has = (...expected: ReadonlyArray<string>) =>
    until(Effect.sync(() => expected.every((what) => handled.includes(what))))
  return { broken, handled, calls, handle, start, has }
}

/** The dead letters of `C`: `a1` given up, `(a2)` parked behind another one. */
const letters = Effect.flatMap(
  services,
  ({ consumers }) =>
    Effect.map(
      consumers.deadLetters("C", { catalog: EventType.catalog(Keyed) }),
      (all) =>
        all.map(({ attempts, event, parked }) => {
          const what = event._tag === "Known" ? name(event.data as Keyed) : event._tag
          return attempts === 0 && parked ? `(${what})` : what
        }).join(" ")
    )
)

const lettersAre = (expected: string) => until(Effect.map(letters, (now) => now === expected))

/** Ends a receiver when it has acknowledged everything. */
const finish = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
  Effect.flatMap(services, ({ poller }) =>
    Effect.zipRight(
      // it may not have registered yet
      until(Effect.orElseSucceed(Effect.map(poller.poll("C"), ({ events }) => events.length === 0), () => false)),
      Fiber.interrupt(fiber)
    ))

onEach("Parking a key", ({ prefix, run, via }) => {
  it("keeps what comes later of that key behind the failed event, in later batches and after a restart; others flow", async () => {
    const r = receiver({ limit: 3 })
    r.broken.add("a1")
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        yield* generator.addAll(keyed("a1 b1 a2 b2 c1 a3 b3"))
        let fiber = yield* r.start
        yield* r.has("b3", "c1")
        yield* lettersAre("a1 (a2) (a3)")
        yield* finish(fiber)
        r.broken.clear()
        // another receiver knows what is parked
        fiber = yield* r.start
        yield* generator.addAll(keyed("a4 b4"))
        yield* r.has("b4")
        yield* lettersAre("a1 (a2) (a3) (a4)")
        yield* finish(fiber)
      }),
      { prefix: prefix() }
    )
    expect(r.handled).toEqual(["b1", "b2", "c1", "b3", "b4"])
    expect(r.calls.filter((what) => what === "a1").length).toBe(2)
  })

  it("redriven, the events of a key come in the order of their ids, before newer ones of it", async () => {
    const r = receiver({ limit: 2 })
    r.broken.add("a1")
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* generator.addAll(keyed("a1 a2 b1 a3"))
        const fiber = yield* r.start
        yield* lettersAre("a1 (a2) (a3)")
        r.broken.clear()
        yield* generator.addAll(keyed("a4 a5"))
        expect(yield* consumers.redrive("C", { key: "a" })).toBeGreaterThanOrEqual(3)
        yield* generator.addAll(keyed("a6"))
        // what came after the mark, but before the receiver heard of it, may be parked unmarked
        yield* until(Effect.gen(function*() {
          if ((yield* letters) !== "") yield* consumers.redrive("C")
          return r.handled.includes("a6")
        }))
        yield* lettersAre("")
        yield* generator.addAll(keyed("a7"))
        yield* r.has("a7")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(r.handled.filter((what) => what.startsWith("a"))).toEqual(["a1", "a2", "a3", "a4", "a5", "a6", "a7"])
  })

  it("one that fails again stays, and so do those behind it; other keys are redriven", async () => {
    const r = receiver()
    for (const what of ["a1", "a3", "b1"]) r.broken.add(what)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* generator.addAll(keyed("a1 b1 a2 a3 a4 b2 c1"))
        const fiber = yield* r.start
        yield* lettersAre("a1 b1 (a2) (a3) (a4) (b2)")
        r.broken.delete("a1")
        r.broken.delete("b1")
        yield* consumers.redrive("C")
        yield* lettersAre("a3 (a4)")
        expect((yield* consumers.deadLetters("C")).map(({ attempts, redriving }) => [attempts, redriving])).toEqual([
          [2, false],
          [0, false]
        ])
        yield* generator.addAll(keyed("a5 b3"))
        yield* r.has("b3")
        yield* lettersAre("a3 (a4) (a5)")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(r.handled.filter((what) => what.startsWith("a"))).toEqual(["a1", "a2"])
    expect(r.handled.filter((what) => what.startsWith("b"))).toEqual(["b1", "b2", "b3"])
  })

  it("redriving one of a parked key by its id takes the key with it; what is not parked goes alone", async () => {
    const r = receiver()
    for (const what of ["a1", "b1"]) r.broken.add(what)
    const s = receiver({ poison: "deadLetter" })
    for (const what of ["c1", "c2"]) s.broken.add(what)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const ids = yield* generator.addAll(keyed("a1 a2 a3 b1 b2"))
        yield* finish(yield* r.start)
        const more = yield* generator.addAll(keyed("c1 c2"))
        yield* finish(yield* s.start)
        yield* lettersAre("a1 (a2) (a3) b1 (b2) c1 c2")
        expect(yield* consumers.redrive("C", { ids: [ids[2]!, String(more[0])] })).toBe(4)
        const marked = (yield* consumers.deadLetters("C")).filter(({ redriving }) => redriving)
        expect(marked.map(({ event }) => event.id)).toEqual([...ids.slice(0, 3), more[0]])
        r.broken.clear()
        const fiber = yield* r.start
        yield* lettersAre("b1 (b2) c2")
        yield* finish(fiber)
      }),
      { prefix: prefix() }
    )
    expect(r.handled).toEqual(["a1", "a2", "a3", "c1"])
  })

  it("more letters than a batch has are redriven in order", async () => {
    const r = receiver({ limit: 7, maxParked: 100 })
    r.broken.add("a1")
    const words = Array.from({ length: 40 }, (_, i) => `a${i + 1}`)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* generator.addAll(keyed(words.join(" ")))
        const fiber = yield* r.start
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 40))
        r.broken.clear()
        expect(yield* consumers.redrive("C")).toBe(40)
        yield* lettersAre("")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(r.handled).toEqual(words)
  })

  it("dropped, the key flows again; as long as one is parked it does not", async () => {
    const r = receiver()
    r.broken.add("a1")
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const [first] = yield* generator.addAll(keyed("a1 a2"))
        const fiber = yield* r.start
        yield* lettersAre("a1 (a2)")
        expect(yield* consumers.drop("C", { ids: [first!] })).toBe(1)
        yield* generator.addAll(keyed("a3 b1"))
        yield* r.has("b1")
        yield* lettersAre("(a2) (a3)")
        expect(yield* consumers.drop("C", { key: "b" })).toBe(0)
        expect(yield* consumers.drop("C", "all")).toBe(2)
        yield* generator.addAll(keyed("a4"))
        yield* r.has("a4")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(r.handled).toEqual(["b1", "a4"])
  })

  it("more than maxParked pauses before the first that has no room; redriven and resumed, it goes on", async () => {
    for (const exactlyOnce of via === "here" ? [false, true] : [false]) {
      const r = receiver({ maxParked: 3, exactlyOnce })
      r.broken.add("a1")
      await run(
        Effect.gen(function*() {
          const { consumers, generator, poller } = yield* services
          const sql = yield* SqlClient.SqlClient
          const ids = yield* generator.addAll(keyed("a1 b1 a2 a3 b2 a4 b3 a5"))
          const fiber = yield* r.start
          yield* lettersAre("a1 (a2) (a3)")
          yield* until(
            Effect.map(
              sql<{ paused: string }>`SELECT paused FROM ${sql(`${p}consumers`)}`,
              ([row]) => /more than 3 events are parked/.test(row?.paused ?? "")
            )
          )
          // paused before a4: b2 is acknowledged
          yield* consumers.resume("C")
          yield* until(
            Effect.map(
              sql<{ paused: string | null }>`SELECT paused FROM ${sql(`${p}consumers`)}`,
              ([row]) => row?.paused !== null
            )
          )
          expect(yield* consumers.redrive("C")).toBe(3)
          r.broken.clear()
          expect((yield* poller.poll("C", { lastId: ids[4]! })).events).toEqual([])
          yield* consumers.resume("C")
          yield* r.has("a5", "b3")
          yield* finish(fiber)
          expect(yield* letters).toBe("")
        }),
        { prefix: prefix1(), ...soon }
      )
      expect(r.handled.filter((what) => what.startsWith("a"))).toEqual(["a1", "a2", "a3", "a4", "a5"])
      expect(new Set(r.handled)).toEqual(new Set(["a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3"]))
    }
  })
  let p = ""
  const prefix1 = () => (p = prefix())

  it("an event without a key becomes a dead letter and parks nothing", async () => {
    const seen: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        yield* generator.addAll(gone(4))
        let broken = true
        const fiber = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.suspend(() => {
            if (event._tag !== "Known") return Effect.void
            if (broken && event.data.id === 2) return Effect.fail("no")
            seen.push(event.data.id)
            return Effect.void
          }), { want: [Gone], register: {}, retry, poison: "parkKey", maxParked: 1 }))
        yield* until(Effect.sync(() => seen.includes(4)))
        yield* until(Effect.map(consumers.deadLetters("C"), ([letter]) => letter?.parked === false))
        broken = false
        yield* consumers.redrive("C")
        yield* until(Effect.sync(() => seen.includes(2)))
        yield* finish(fiber)
        expect(yield* consumers.deadLetters("C")).toEqual([])
      }),
      { prefix: prefix(), ...soon }
    )
    expect(seen).toEqual([1, 3, 4, 2])
  })

  it("a batch handler: the event is found, its key parked, and later batches come as batches without the key", async () => {
    for (const exactlyOnce of via === "here" ? [false, true] : [false]) {
      const batches: Array<ReadonlyArray<string>> = []
      let broken = true
      await run(
        Effect.gen(function*() {
          const { consumers, generator, pusher } = yield* services
          yield* generator.addAll(keyed("b1 a1 a2 b2"))
          const fiber = yield* Effect.fork(pusher.run("C", {
            batch: (events) =>
              Effect.suspend(() => {
                const names = events.map((event) => event._tag === "Known" ? name(event.data) : event._tag)
                if (broken && names.includes("a1")) return Effect.fail("no")
                batches.push(names)
                return Effect.void
              })
          }, { want: [Keyed], register: {}, retry, poison: "parkKey", exactlyOnce }))
          yield* lettersAre("a1 (a2)")
          yield* until(Effect.sync(() => batches.length >= 2))
          yield* generator.addAll(keyed("b3 a3 c1 a4 b4"))
          yield* lettersAre("a1 (a2) (a3) (a4)")
          broken = false
          yield* consumers.redrive("C")
          yield* lettersAre("")
          yield* finish(fiber)
        }),
        { prefix: prefix(), ...soon }
      )
      expect(batches).toEqual([["b1"], ["b2"], ["b3", "c1", "b4"], ["a1"], ["a2"], ["a3"], ["a4"]])
    }
  })

  it("concurrency: the order of each key holds while keys are parked and redriven", async () => {
    const seen: Array<string> = []
    const failing = new Set(["a2", "c3"])
    const words = Array.from({ length: 60 }, (_, i) => `${"abcd"[i % 4]}${Math.floor(i / 4) + 1}`)
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        yield* generator.addAll(keyed(words.join(" ")))
        const fiber = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.gen(function*() {
            if (event._tag !== "Known") return
            yield* Effect.sleep((event.data.n * 7) % 5)
            if (failing.has(name(event.data))) return yield* Effect.fail("no")
            seen.push(name(event.data))
          }), { want: [Keyed], register: {}, retry, poison: "parkKey", concurrency: 4, limit: 10 }))
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 14 + 13))
        expect(seen.filter((what) => /^[bd]/.test(what)).length).toBe(30)
        failing.clear()
        yield* consumers.redrive("C")
        yield* lettersAre("")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    for (const key of "abcd") {
      expect(seen.filter((what) => what.startsWith(key))).toEqual(words.filter((what) => what.startsWith(key)))
    }
  })

  // over the network everybody has its own user, and its own database
  if (via === "here") {
    it("exactlyOnce: parked, redriven, failed again and redriven, the handler's table has each event once, in order", async () => {
      const name1 = prefix()
      const table = `${name1}effects`
      const failing = new Set(["a2", "b1"])
      await run(
        Effect.gen(function*() {
          const { consumers, generator, pusher } = yield* services
          const sql = yield* SqlClient.SqlClient
          yield* sql.unsafe(`CREATE TABLE ${table} (what VARCHAR(10) NOT NULL)`)
          yield* generator.addAll(keyed("a1 b1 c1 a2 a3 c2 b2 c3"))
          const fiber = yield* Effect.fork(pusher.run("C", (event) =>
            Effect.gen(function*() {
              if (event._tag !== "Known") return
              // what fails has written, too
              yield* sql.unsafe(`INSERT INTO ${table} VALUES ('${name(event.data)}')`)
              if (failing.has(name(event.data))) return yield* Effect.fail("no")
            }), { want: [Keyed], register: {}, retry, poison: "parkKey", exactlyOnce: true, limit: 3 }))
          yield* lettersAre("b1 a2 (a3) (b2)")
          failing.delete("a2")
          yield* consumers.redrive("C")
          yield* lettersAre("b1 (b2)")
          failing.clear()
          yield* generator.addAll(keyed("b3 c4"))
          yield* lettersAre("b1 (b2) (b3)")
          yield* consumers.redrive("C")
          yield* lettersAre("")
          yield* finish(fiber)
          const rows = yield* sql.unsafe<{ what: string }>(`SELECT what FROM ${table}`)
          const all = rows.map(({ what }) => what)
          expect([...all].sort()).toEqual(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3", "c4"])
          for (const key of "abc") {
            const ours = all.filter((what) => what.startsWith(key))
            expect(ours).toEqual([...ours].sort())
          }
        }),
        { prefix: name1, ...soon }
      )
    })
  }

  it("keys that differ by a space at their end, quotes and other characters are different keys", async () => {
    const keys = ["k", "k ", "K", "k\\' -- ;", "k\u00e9\u{1F600}"]
    const seen: Array<string> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        const all = (n: number) => keys.map((key) => Generator.event(Keyed, { key, n }))
        const parked = ["k", "k ", "k\\' -- ;", "k\u00e9\u{1F600}"]
        yield* generator.addAll(all(1))
        let failing = true
        const start = Effect.fork(pusher.run("C", (event) =>
          Effect.suspend(() => {
            if (event._tag !== "Known") return Effect.void
            const { key, n } = event.data
            if (failing && n === 1 && key !== "K") return Effect.fail(`${key} \u0000 \\ ' \uD800`)
            seen.push(`${key}|${n}`)
            return Effect.void
          }), { want: [Keyed], register: {}, retry, poison: "parkKey" }))
        yield* finish(yield* start)
        yield* generator.addAll(all(2))
        yield* finish(yield* start)
        expect(seen).toEqual(["K|1", "K|2"])
        for (const key of parked) {
          const of = yield* consumers.deadLetters("C", { key })
          expect(of.map(({ event }) => event.key)).toEqual([key, key])
          expect(of[0]!.error).toContain(`${key} \uFFFD \\ ' \uFFFD`)
        }
        failing = false
        expect(yield* consumers.redrive("C", { key: "k" })).toBe(2)
        const last = yield* start
        yield* until(Effect.map(consumers.deadLetters("C", { key: "k" }), (of) => of.length === 0))
        yield* finish(last)
        expect(yield* consumers.drop("C", { key: "k " })).toBe(2)
        expect((yield* consumers.deadLetters("C")).length).toBe(4)
      }),
      { prefix: prefix() }
    )
    expect(seen.slice(2)).toEqual(["k|1", "k|2"])
  })
}, { remote: true })

onEach("Pausing", ({ prefix, run, via }) => {
  it("by policy: the cursor stays before the event, nobody receives it until it is resumed", async () => {
    for (const exactlyOnce of via === "here" ? [false, true] : [false]) {
      const r = receiver({ poison: "pause", exactlyOnce })
      r.broken.add("a2")
      const p = prefix()
      await run(
        Effect.gen(function*() {
          const { consumers, generator, poller, pusher } = yield* services
          const sql = yield* SqlClient.SqlClient
          yield* generator.addAll(keyed("a1 a2 a3"))
          const fiber = yield* r.start
          yield* until(
            Effect.map(
              sql.unsafe<any>(`SELECT paused FROM ${p}consumers`),
              ([row]) => /event \d+ \(KEYED\).*a2 is broken/s.test(row?.paused ?? "")
            )
          )
          const { calls } = r
          const before = calls.length
          expect((yield* poller.poll("C")).events).toEqual([])
          // a second one waits, too, and does not complain
          const second = yield* Effect.fork(pusher.run("C", r.handle, { want: [Keyed], whenBusy: "fail" }))
          yield* Effect.sleep(1500)
          expect(calls.length).toBe(before)
          expect(second.unsafePoll()).toBe(null)
          yield* Fiber.interrupt(second)
          r.broken.clear()
          yield* consumers.resume("C")
          yield* r.has("a3")
          yield* finish(fiber)
          expect(yield* letters).toBe("")
        }),
        { prefix: p, ...soon }
      )
      expect(r.handled).toEqual(["a1", "a2", "a3"])
    }
  })

  it("by an administrator: a receiver at work stops, polls are empty, acknowledgements still count; resumed, all goes on", async () => {
    const r = receiver()
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller } = yield* services
        yield* generator.addAll(keyed("a1"))
        const fiber = yield* r.start
        yield* r.has("a1")
        yield* consumers.pause("C", "it's night \u0000 \\")
        yield* consumers.pause("C")
        // it hears of it when it renews its lease
        yield* Effect.sleep(1000)
        const [a2] = yield* generator.addAll(keyed("a2 a3"))
        yield* Effect.sleep(500)
        expect(r.calls).toEqual(["a1"])
        expect((yield* poller.poll("C")).events).toEqual([])
        expect((yield* poller.poll("C", { lastId: a2! })).events).toEqual([])
        yield* consumers.resume("C")
        yield* consumers.resume("C")
        yield* r.has("a3")
        yield* finish(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(r.handled).toEqual(["a1", "a3"])
  })

  // over the network everybody has its own user, and its own database
  if (via === "here") {
    it("in the middle of a batch: it cannot be acknowledged any more, and with exactlyOnce has no effect", async () => {
      const name1 = prefix()
      await run(
        Effect.gen(function*() {
          const { consumers, generator, poller, pusher } = yield* services
          const sql = yield* SqlClient.SqlClient
          yield* sql.unsafe(`CREATE TABLE ${name1}effects (what VARCHAR(10) NOT NULL)`)
          yield* generator.addAll(keyed("a1"))
          const inside = yield* Effect.makeLatch(false)
          const go = yield* Effect.makeLatch(false)
          const fiber = yield* Effect.fork(pusher.run("C", (event) =>
            Effect.gen(function*() {
              if (event._tag !== "Known") return
              yield* inside.open
              yield* go.await
              yield* sql.unsafe(`INSERT INTO ${name1}effects VALUES ('${name(event.data)}')`)
            }), { want: [Keyed], register: {}, exactlyOnce: true }))
          yield* inside.await
          const pausing = yield* Effect.fork(consumers.pause("C"))
          yield* Effect.sleep(200)
          yield* go.open
          yield* Fiber.join(pausing)
          yield* Effect.sleep(300)
          // SQLite: the write lock is the batch's, so it was before the pause; elsewhere it was fenced out
          const effects = yield* sql.unsafe(`SELECT what FROM ${name1}effects`)
          yield* Fiber.interrupt(fiber)
          yield* consumers.resume("C")
          const left = (yield* poller.poll("C")).events.length
          expect(effects.length + left).toBe(1)
        }),
        { prefix: name1 }
      )
    })
  }

  it("a stream of the poller ends nothing, waits, and goes on", async () => {
    const seen: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller } = yield* services
        yield* poller.register("C")
        yield* consumers.pause("C")
        yield* generator.addAll(gone(3))
        const fiber = yield* Effect.fork(Stream.runForEach(poller.stream("C", { want: [Gone] }), ({ ack, batch }) => {
          seen.push(...batch.events.flatMap((event) => event._tag === "Known" ? [event.data.id] : []))
          return ack
        }))
        yield* Effect.sleep(500)
        expect(seen).toEqual([])
        yield* consumers.resume("C")
        yield* until(Effect.sync(() => seen.length === 3))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix() }
    )
    expect(seen).toEqual([1, 2, 3])
  })
}, { remote: true })

onEach("Dead letters", ({ backend, db, prefix, run, via }) => {
  it("are decoded with a catalog, by pages and keys", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        const ids = yield* generator.addAll([
          ...keyed("a1 b2 a3"),
          Generator.event(Added, { id: 4, email: "x" }),
          ...gone(1)
        ])
        const fiber = yield* Effect.fork(
          pusher.run("C", () => Effect.fail("no"), { register: {}, retry, poison: "deadLetter" })
        )
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 5))
        yield* finish(fiber)
        const catalog = EventType.catalog(Keyed, Added)
        const all = yield* consumers.deadLetters("C", { catalog })
        expect(all.map(({ event }) => [event.id, event._tag])).toEqual([
          [ids[0], "Known"],
          [ids[1], "Known"],
          [ids[2], "Known"],
          [ids[3], "Known"],
          [ids[4], "Unknown"]
        ])
        const [first] = all
        if (first?.event._tag !== "Known") throw new Error("not decoded")
        expect(first.event.data).toEqual({ key: "a", n: 1 })
        expect(first).toMatchObject({ attempts: 2, parked: false, redriving: false })
        expect(first.error).toContain("no")
        expect(Math.abs(first.failedAt.getTime() - Date.now())).toBeLessThan(60_000)
        expect(first.event.ts).toBeLessThanOrEqual(first.failedAt.getTime())
        const page = (options: Parameters<typeof consumers.deadLetters>[1]) =>
          Effect.map(consumers.deadLetters("C", options), (some) => some.map(({ event }) => event.id))
        expect(yield* page({ limit: 2 })).toEqual(ids.slice(0, 2))
        expect(yield* page({ limit: 2, after: ids[1]! })).toEqual(ids.slice(2, 4))
        expect(yield* page({ after: String(ids[3]) })).toEqual(ids.slice(4))
        expect(yield* page({ key: "a" })).toEqual([ids[0], ids[2]])
        expect(yield* page({ key: "a", after: ids[0]! })).toEqual([ids[2]])
        expect(yield* consumers.deadLetters("NOBODY")).toEqual([])
      }),
      { prefix: prefix() }
    )
  })

  it("an event that has left the log meanwhile is kept all the same, as it was", async () => {
    // on SQLite nobody else can write while a handler's transaction is open
    for (const exactlyOnce of backend === "sqlite" || via !== "here" ? [false] : [false, true]) {
      const p = prefix()
      await run(
        Effect.gen(function*() {
          const { consumers, generator, pusher } = yield* services
          const at = Date.now()
          yield* generator.addAll([...keyed("a1 b1 a2"), ...gone(1)])
          let seen = 0
          const fiber = yield* Effect.fork(pusher.run("C", (event) =>
            Effect.gen(function*() {
              if (event._tag === "Known" && "key" in event.data && event.data.key === "b") {
                seen++
                return
              }
              yield* Effect.promise(() => db().query(`DELETE FROM ${p}log`))
              yield* Effect.fail("no")
            }), { want: [Keyed, Gone], register: {}, retry, poison: "parkKey", exactlyOnce }))
          yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 3))
          yield* until(Effect.sync(() => seen > 0))
          yield* Fiber.interrupt(fiber)
          const all = yield* consumers.deadLetters("C", { catalog: EventType.catalog(Keyed, Gone) })
          expect(all.map(({ event, parked }) => [event._tag === "Known" && event.data, event.key, parked])).toEqual([
            [{ key: "a", n: 1 }, "a", true],
            [{ key: "a", n: 2 }, "a", true],
            [{ id: 1 }, null, false]
          ])
          for (const { event } of all) expect(Math.abs(event.ts - at)).toBeLessThan(60_000)
        }),
        { prefix: p }
      )
    }
  })

  it("many long errors of one batch are kept, and the cursor moves", async () => {
    const long = "\u{1F600}".repeat(5000)
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        yield* generator.addAll(gone(400))
        const fiber = yield* Effect.fork(
          pusher.run("C", () => Effect.fail(long), {
            want: [Gone],
            register: {},
            retry: Schedule.stop,
            poison: "deadLetter"
          }).pipe(Effect.withLogSpan("quiet"), Logger.withMinimumLogLevel(LogLevel.Error))
        )
        yield* finish(fiber)
        const all = yield* consumers.deadLetters("C", { limit: 1000 })
        expect(all.length).toBe(400)
        for (const { error } of all) expect(error.length).toBe(10_000)
      }),
      { prefix: prefix() }
    )
  })

  it("what the consumer does not want any more is not delivered, and stays", async () => {
    const seen: Array<string> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        yield* generator.addAll([...keyed("a1"), ...gone(1)])
        const first = yield* Effect.fork(
          pusher.run("C", () => Effect.fail("no"), { register: {}, retry, poison: "deadLetter" })
        )
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 2))
        yield* finish(first)
        yield* consumers.redrive("C")
        const second = yield* Effect.fork(
          pusher.run("C", (event) => Effect.sync(() => void seen.push(event._tag)), { want: [Gone] })
        )
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 1))
        const [left] = yield* consumers.deadLetters("C")
        expect(left).toMatchObject({ redriving: false, attempts: 2 })
        expect(left!.error).toContain("does not want")
        yield* Fiber.interrupt(second)
      }),
      { prefix: prefix() }
    )
    expect(seen).toEqual(["Known"])
  })

  it("what cannot be decoded is a dead letter without an attempt, parks its key, and can be redriven when it can be", async () => {
    const Strict = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.String }), {
      key: ({ key }) => key
    })
    const seen: Array<string> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        yield* generator.addAll([...keyed("a1"), Generator.event(Strict, { key: "a", n: "2" })])
        const first = yield* Effect.fork(
          pusher.run("C", () => Effect.void, { want: [Strict], register: {}, retry, poison: "parkKey" })
        )
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 2))
        yield* finish(first)
        expect((yield* consumers.deadLetters("C")).map(({ attempts }) => attempts)).toEqual([0, 0])
        yield* consumers.redrive("C")
        const second = yield* Effect.fork(
          pusher.run("C", (event) => Effect.sync(() => void seen.push(event._tag)), { want: ["KEYED"] })
        )
        yield* until(Effect.map(consumers.deadLetters("C"), (all) => all.length === 0))
        yield* Fiber.interrupt(second)
      }),
      { prefix: prefix() }
    )
    expect(seen).toEqual(["Unknown", "Unknown"])
  })

  it("bad input and unknown consumers get their own errors", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        yield* poller.register("C")
        const fails = <A, E>(effect: Effect.Effect<A, E>, tag: string, rest: object = {}) =>
          Effect.map(Effect.flip(effect), (error) => expect(error).toMatchObject({ _tag: tag, ...rest }))
        const all = (consumer: any): ReadonlyArray<Effect.Effect<unknown, any>> => [
          consumers.pause(consumer),
          consumers.resume(consumer),
          consumers.redrive(consumer),
          consumers.drop(consumer, "all"),
          consumers.deadLetters(consumer)
        ]
        for (const effect of all("NOBODY").slice(0, 3)) {
          yield* fails(effect, "NotRegistered", { consumer: "local:NOBODY" })
        }
        for (const effect of all("LIVE")) yield* fails(effect, "LiveNotAllowed")
        for (const effect of all("a b")) yield* fails(effect, "InvalidConsumer")
        for (
          const which of [
            null,
            1,
            "some",
            {},
            { key: 1 },
            { key: "" },
            { key: "a\u0000" },
            { ids: 1 },
            { ids: [] },
            {
              ids: ["x"]
            },
            { ids: [0] },
            { ids: Array.from({ length: 10_001 }, () => 1) }
          ] as ReadonlyArray<any>
        ) {
          yield* fails(consumers.redrive("C", which), "InvalidOption")
          yield* fails(consumers.drop("C", which), "InvalidOption")
        }
        expect(yield* consumers.redrive("C", { ids: Array.from({ length: 10_000 }, (_, i) => 10n ** 17n + BigInt(i)) }))
          .toBe(0)
        for (const options of [{ limit: 0 }, { limit: 1001 }, { after: "x" }, { key: "a\u0000" }, { key: "\uD800" }]) {
          yield* fails(consumers.deadLetters("C", options), "InvalidOption")
        }
        yield* fails(consumers.pause("C", 1 as any), "InvalidOption", { option: "why" })
        yield* fails(pusher.run("C", () => Effect.void, { poison: "park" as any }), "InvalidOption", {
          option: "poison"
        })
        yield* fails(pusher.run("C", () => Effect.void, { maxParked: 0 }), "InvalidOption", { option: "maxParked" })
        if (via !== "here") return
        for (const effect of all("C")) yield* fails(generator.transaction(effect), "InsideTransaction")
      }),
      { prefix: prefix() }
    )
  })
}, { remote: true })
