/** Consumer groups: a consumer whose partitions are shared among runs, in one process here; test/faults/groups.test.ts has several. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { EventType, Generator, type Pusher } from "../src/index.js"
import { keyHash } from "../src/internal/keyHash.js"
import { Gone, onEach, services } from "./support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

/** `count` events, of `keys` keys in turn; `n` counts those of all keys. */
const keyed = (count: number, keys: number, from = 0) =>
  Array.from({ length: count }, (_, i) => Generator.event(Keyed, { key: `k${(from + i) % keys}`, n: from + i }))

/** So long that a busy machine loses none: nothing is repeated but what a test repeats. Looks are a second apart. */
const soon = { pusher: { leaseTtl: "6 seconds" } } as const

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(condition, { until: (is) => is, schedule: Schedule.spaced("20 millis") }).pipe(
    Effect.timeout("20 seconds")
  )

/** Members of the group of `C`, and what each has handled. */
const group = (partitions: number, options: Pusher.RunOptions<any, any> = {}) => {
  const handled: Array<{ readonly member: string; readonly key: string; readonly n: number }> = []
  const start = (member: string, handle: (event: any) => Effect.Effect<unknown, unknown> = () => Effect.void) =>
    Effect.flatMap(services, ({ pusher }) =>
      Effect.fork(pusher.run(
        "C",
        (event: any) => Effect.tap(handle(event), () => Effect.sync(() => handled.push({ member, ...event.data }))),
        { want: [Keyed], register: {}, partitions, ...options } as any
      )))
  const has = (count: number) => until(Effect.sync(() => new Set(handled.map(({ n }) => n)).size >= count))
  return { handled, start, has }
}

/** Who owns how many partitions of `C`. */
const owned = Effect.flatMap(services, ({ consumers }) =>
  Effect.map(consumers.list, (all) => {
    const counts = new Map<string, number>()
    for (const { owner } of all.find(({ component }) => component === "C")?.partitions ?? []) {
      const name = owner?.member ?? "nobody"
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    return counts
  }))

const shares = Effect.map(owned, (counts) => [...counts.values()].sort((a, b) => a - b).join(" "))
const sharesAre = (expected: string) =>
  until(Effect.map(Effect.zip(owned, shares), ([counts, now]) => !counts.has("nobody") && now === expected))

/** Nothing of a key came before what is before it. */
const inOrder = (handled: ReadonlyArray<{ readonly key: string; readonly n: number }>) => {
  const last = new Map<string, number>()
  for (const { key, n } of handled) {
    expect(n).toBeGreaterThan(last.get(key) ?? -1)
    last.set(key, n)
  }
}

onEach("A group", ({ backend, db, prefix, run }) => {
  it("one run owns all partitions: everything once, in order by key", async () => {
    const g = group(8)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* generator.addAll(keyed(200, 20))
        const fiber = yield* g.start("a")
        yield* sharesAre("8")
        yield* generator.addAll(keyed(200, 20, 200))
        yield* g.has(400)
        // the consumer's cursor is the smallest of theirs, also of those that have seen nothing
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 400n))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(400)
    inOrder(g.handled)
  })

  it("runs that come share them fairly, those that stay take over from those that go", async () => {
    const g = group(8)
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const a = yield* g.start("a", () => Effect.sleep(2))
        yield* sharesAre("8")
        const b = yield* g.start("b", () => Effect.sleep(2))
        const emitting = yield* Effect.fork(
          Effect.forEach(
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            (i) => Effect.zipRight(generator.addAll(keyed(100, 30, i * 100)), Effect.sleep(100))
          )
        )
        yield* sharesAre("4 4")
        const c = yield* g.start("c", () => Effect.sleep(2))
        yield* sharesAre("2 3 3")
        yield* Fiber.interrupt(a)
        yield* sharesAre("4 4")
        yield* Fiber.interrupt(b)
        yield* sharesAre("8")
        yield* Fiber.join(emitting)
        yield* g.has(1000)
        yield* Fiber.interrupt(c)
      }),
      { prefix: prefix(), ...soon }
    )
    // nobody was overtaken; what was in hand is repeated, of who was interrupted and where a lease of a second ran out
    const first = new Map<string, ReadonlyArray<number>>()
    for (const { key, n } of g.handled) {
      const seen = first.get(key) ?? []
      if (!seen.includes(n)) first.set(key, [...seen, n])
    }
    for (const seen of first.values()) expect(seen).toEqual([...seen].sort((a, b) => a - b))
  })

  it("one slow key holds back its own partition only, also when the log runs far ahead of it", async () => {
    const free = Effect.runSync(Effect.makeLatch(false))
    const g = group(4)
    const slow = keyHash("k0") % 4
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        // more than the tail keeps in memory, half of it of one key
        const count = 24_000
        const events = Array.from(
          { length: count },
          (_, n) => Generator.event(Keyed, { key: n % 2 === 0 ? "k0" : `k${1 + (n % 50)}`, n })
        )
        for (let i = 0; i < count; i += 2000) yield* generator.addAll(events.slice(i, i + 2000))
        const fiber = yield* g.start("a", (event) => event.data.key === "k0" ? free.await : Effect.void)
        const others = events.filter(({ data }: any) => keyHash(data.key) % 4 !== slow).length
        yield* g.has(others)
        const [info] = yield* consumers.list
        for (const { cursor, number } of info!.partitions!) {
          if (number === slow) expect(cursor).toBeUndefined()
          else expect(cursor! >= 23_000n).toBe(true)
        }
        yield* free.open
        yield* g.has(count)
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === BigInt(count)))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(24_000)
    inOrder(g.handled)
  })

  it("a number of partitions is part of the registration: another one is refused, and so is the consumer as a whole", async () => {
    const g = group(4)
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        const fiber = yield* g.start("a")
        yield* sharesAre("4")
        for (const partitions of [2, 8]) {
          const error = yield* Effect.flip(pusher.run("C", () => Effect.void, { partitions }))
          expect(error).toMatchObject({ _tag: "InvalidOption", option: "partitions", value: String(partitions) })
          expect(error.message).toMatch(/must be 4 .*Consumers\.repartition/)
        }
        for (const partitions of [0, 257, 1.5, Number.NaN]) {
          expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { partitions }))).toMatchObject({
            _tag: "InvalidOption"
          })
        }
        expect((yield* Effect.flip(pusher.run("C", () => Effect.void))).message).toMatch(/must be 4.*not left out/)
        expect(yield* Effect.flip(Stream.runDrain(pusher.subscribe("C")))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* Effect.flip(poller.poll("C"))).toMatchObject({ _tag: "ConsumerExclusive" })
        expect(yield* Effect.flip(Stream.runDrain(poller.stream("C")))).toMatchObject({ _tag: "ConsumerExclusive" })
        expect(yield* Effect.flip(consumers.repartition("NOBODY", 4))).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* Effect.flip(pusher.run("NOBODY", () => Effect.void, { partitions: 4 }))).toMatchObject({
          _tag: "NotRegistered",
          consumer: "local:NOBODY"
        })
        for (const archiver of ["ARCHIVER"]) {
          expect(yield* Effect.flip(pusher.run(archiver, () => Effect.void, { partitions: 4, register: {} })))
            .toMatchObject({ _tag: "InvalidOption" })
          expect(yield* Effect.flip(consumers.repartition(archiver, 4))).toMatchObject({ _tag: "InvalidOption" })
        }
        // nothing of all that disturbed it
        yield* generator.addAll(keyed(20, 10))
        yield* g.has(20)
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(20)
  })

  it("the first run starts where the consumer is, as its receiver: one that is at work is waited for", async () => {
    const g = group(4)
    const got: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(keyed(10, 5))
        const receiver = yield* Effect.fork(
          pusher.run("C", (event: any) => Effect.sync(() => got.push(event.data.n)), { want: [Keyed] })
        )
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 10n))
        expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { partitions: 4, whenBusy: "fail" })))
          .toMatchObject({ _tag: "ConsumerBusy" })
        const fiber = yield* g.start("a")
        yield* Effect.sleep(200)
        expect((yield* consumers.list)[0]!.partitions).toBeUndefined()
        yield* Fiber.interrupt(receiver)
        yield* sharesAre("4")
        yield* generator.addAll(keyed(10, 5, 10))
        yield* g.has(10)
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(g.handled.map(({ n }) => n).sort((a, b) => a - b)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
  })

  it("takeOver gives an ordinary receiver no chance to go on", async () => {
    const g = group(4, { whenBusy: "takeOver" })
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(keyed(10, 5))
        const inHand = yield* Effect.makeLatch(false)
        const receiver = yield* Effect.fork(
          pusher.run("C", () => Effect.zipRight(inHand.open, Effect.sleep(300)), { limit: 5 })
        )
        yield* inHand.await
        const fiber = yield* g.start("a")
        const error = yield* Effect.flip(Fiber.join(receiver))
        expect(error).toMatchObject({ _tag: "InvalidOption", option: "partitions" })
        yield* g.has(10)
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(10)
  })

  it("nothing is discarded that one of the partitions has not acknowledged", async () => {
    const free = Effect.runSync(Effect.makeLatch(false))
    const g = group(4, { limit: 1 })
    await run(
      Effect.gen(function*() {
        const { consumers, discarder, generator } = yield* services
        const options = { retain: { for: 0 } }
        const fiber = yield* g.start("a", (event) => event.data.n === 30 ? free.await : Effect.void)
        yield* generator.addAll(keyed(100, 40))
        const slow = keyHash("k30") % 4
        const before = Array.from({ length: 100 }, (_, n) => n)
          .filter((n) => keyHash(`k${n % 40}`) % 4 !== slow || n < 30)
        yield* g.has(before.length)
        yield* until(
          Effect.map(
            consumers.list,
            ([info]) => info!.partitions!.every(({ cursor, number }) => number === slow || cursor! >= 96n)
          )
        )
        // what the consumer's own row says follows within two looks
        yield* Effect.sleep(2500)
        const report = yield* discarder.once(options)
        expect(report.heldBack).toMatchObject([{ _tag: "Consumer", consumer: "local:C" }])
        const { cursor } = (yield* consumers.list)[0]!.partitions![slow]!
        expect(report.discardedTo ?? 0n).toBeLessThanOrEqual(cursor ?? 0n)
        expect(report.discardedTo).toBeGreaterThan(0n)
        yield* free.open
        yield* g.has(100)
        yield* until(Effect.map(discarder.once(options), ({ left }) => left === 0))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.length).toBe(100)
  })

  it("a key that is parked is parked by its partition, in whatever layout; redriven, it comes before what is newer", async () => {
    const broken = new Set([3])
    const g = group(4, { poison: "parkKey", retry: Schedule.recurs(1), limit: 5 })
    const handle = (event: any) => broken.has(event.data.n) ? Effect.fail("broken") : Effect.void
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const fiber = yield* g.start("a", handle)
        yield* g.start("b", handle)
        yield* sharesAre("2 2")
        yield* generator.addAll(keyed(40, 10))
        yield* g.has(36)
        const letters = Effect.map(consumers.deadLetters("C"), (all) => all.map(({ event }) => Number(event.id) - 1))
        yield* until(Effect.map(letters, (ids) => ids.length === 4))
        expect((yield* consumers.list)[0]).toMatchObject({ deadLetters: 4, parked: 4 })
        yield* consumers.repartition("C", 6)
        yield* sharesAre("3 3")
        yield* generator.addAll(keyed(20, 10, 40))
        yield* g.has(54)
        yield* until(Effect.map(letters, (ids) => ids.length === 6))
        expect(yield* letters).toEqual([3, 13, 23, 33, 43, 53])
        broken.clear()
        expect(yield* consumers.redrive("C")).toBe(6)
        yield* generator.addAll(keyed(10, 10, 60))
        yield* until(Effect.gen(function*() {
          if ((yield* letters).length > 0) yield* consumers.redrive("C")
          return (yield* letters).length === 0 && new Set(g.handled.map(({ n }) => n)).size === 70
        }))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    const key = [...new Set(g.handled.filter(({ key }) => key === "k3").map(({ n }) => n))]
    expect(key).toEqual([3, 13, 23, 33, 43, 53, 63])
  })

  it("redriven, a dead letter comes to the partition of its key only: once", async () => {
    let broken = true
    const g = group(8, { poison: "deadLetter", retry: Schedule.recurs(0) })
    const handle = () => broken ? Effect.fail("broken") : Effect.sleep(5)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const fiber = yield* g.start("a", handle)
        yield* g.start("b", handle)
        yield* sharesAre("4 4")
        yield* generator.addAll(keyed(40, 40))
        yield* until(Effect.map(consumers.list, ([info]) => info!.deadLetters === 40))
        broken = false
        expect(yield* consumers.redrive("C")).toBe(40)
        yield* until(Effect.map(consumers.list, ([info]) => info!.deadLetters === 0))
        yield* Effect.sleep(300)
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.map(({ n }) => n).sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n))
  })

  it("pause, resume, reset and remove act on the whole, also while it is at work", async () => {
    const g = group(4)
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const fiber = yield* g.start("a")
        yield* generator.addAll(keyed(20, 10))
        yield* g.has(20)
        // what was handled and is not acknowledged would come again
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 20n))
        yield* consumers.pause("C", "to look")
        yield* until(Effect.map(owned, (counts) => counts.get("nobody") === 4))
        yield* generator.addAll(keyed(20, 10, 20))
        yield* Effect.sleep(500)
        expect(g.handled.length).toBe(20)
        expect((yield* consumers.list)[0]).toMatchObject({ state: "paused", paused: "to look" })
        yield* consumers.resume("C")
        yield* g.has(40)
        expect(g.handled.length).toBe(40)
        // in the middle of everything: each is delivered again
        expect(yield* consumers.reset("C", { after: 10n })).toBe(10n)
        yield* until(Effect.sync(() => g.handled.length === 70))
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 40n))
        yield* consumers.remove("C")
        expect(yield* Effect.flip(Fiber.join(fiber))).toMatchObject({ _tag: "NotRegistered", consumer: "local:C" })
        expect(yield* consumers.list).toEqual([])
      }),
      { prefix: prefix(), ...soon }
    )
    expect(g.handled.slice(40).map(({ n }) => n).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 30 }, (_, i) => i + 10)
    )
  })

  it("who pauses it by policy pauses it for everybody", async () => {
    const g = group(4, { poison: "pause", retry: Schedule.recurs(1) })
    let broken = true
    const handle = (event: any) => broken && event.data.n === 5 ? Effect.fail("broken") : Effect.void
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        yield* g.start("a", handle)
        yield* g.start("b", handle)
        yield* sharesAre("2 2")
        yield* generator.addAll(keyed(10, 10))
        yield* until(Effect.map(consumers.list, ([info]) => info!.state === "paused"))
        expect((yield* consumers.list)[0]!.paused).toMatch(/event 6 /)
        yield* until(Effect.map(owned, (counts) => counts.get("nobody") === 4))
        broken = false
        yield* consumers.resume("C")
        yield* g.has(10)
      }),
      { prefix: prefix(), ...soon }
    )
    inOrder([...new Map(g.handled.map((one) => [one.n, one])).values()])
  })

  it("an event that nobody can handle ends a run with its policy stop", async () => {
    const g = group(4, { retry: Schedule.recurs(1) })
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const fiber = yield* g.start("a", (event) => event.data.n === 5 ? Effect.fail("broken") : Effect.void)
        yield* generator.addAll(keyed(10, 10))
        expect(yield* Effect.flip(Fiber.join(fiber))).toMatchObject({
          _tag: "HandlerFailed",
          consumer: "local:C",
          id: 6n,
          attempts: 2
        })
        // it has given back what it had
        yield* until(Effect.map(consumers.list, ([info]) => info!.state === "idle"))
      }),
      { prefix: prefix(), ...soon }
    )
  })

  it("repartition: from the smallest cursor on, at least once and in order by key; runs go on with it, and it is recorded", async () => {
    const free = Effect.runSync(Effect.makeLatch(false))
    const g = group(2, { limit: 5 })
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        const slow = (event: any) => event.data.n === 50 ? free.await : Effect.sleep(1)
        const a = yield* g.start("a", slow)
        const b = yield* g.start("b", slow)
        yield* sharesAre("1 1")
        yield* generator.addAll(keyed(100, 20))
        yield* until(Effect.map(consumers.list, ([info]) => info!.partitions!.some(({ cursor }) => cursor! >= 95n)))
        const least = (yield* consumers.list)[0]!.cursor!
        expect(least).toBeLessThan(51n)
        const at = g.handled.length
        expect(yield* consumers.repartition("C", 5)).toBe(least)
        yield* free.open
        yield* sharesAre("2 3")
        yield* g.has(100)
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 100n))
        // everything after the smallest cursor again
        expect(new Set(g.handled.slice(at).map(({ n }) => n)).size).toBeGreaterThanOrEqual(100 - Number(least) - 5)
        const [entry] = yield* consumers.audit({ consumer: "C" })
        expect(entry).toMatchObject({
          actor: "local",
          action: "repartition",
          detail: { from: 2, to: 5, cursor: least.toString() }
        })
        expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { partitions: 2 }))).toMatchObject({
          _tag: "InvalidOption"
        })
        // an ordinary consumer again: one of the runs goes on
        yield* consumers.repartition("C", "none")
        yield* generator.addAll(keyed(20, 20, 100))
        yield* g.has(120)
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 120n && info!.lease !== undefined))
        expect((yield* consumers.list)[0]!.partitions).toBeUndefined()
        yield* Fiber.interrupt(a)
        yield* Fiber.interrupt(b)
      }),
      { prefix: prefix(), ...soon }
    )
    // a repeat starts before what it repeats: within each run of a key the order holds
    const seen = new Map<string, number>()
    for (const { key, n } of g.handled) {
      const last = seen.get(key) ?? -20
      expect(n <= last || n === last + 20 || last === -20).toBe(true)
      seen.set(key, n)
    }
  })

  it("exactlyOnce: whoever comes and goes, each event takes effect once, in order by key", async () => {
    const p = prefix()
    const g = group(6, { exactlyOnce: true, limit: 7 })
    const member = (n: number) =>
      run(
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Effect.sleep(n * 300)
          const fiber = yield* g.start(`m${n}`, (event) =>
            sql.unsafe(`INSERT INTO ${p}effects (n, event_key) VALUES (${event.data.n}, '${event.data.key}')`))
          yield* Effect.sleep(1500)
          // wherever it is
          yield* Fiber.interrupt(fiber)
        }),
        { prefix: p, ...soon }
      )
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        const id = backend === "postgres"
          ? "id bigserial PRIMARY KEY"
          : backend === "mysql"
          ? "id BIGINT AUTO_INCREMENT PRIMARY KEY"
          : "id INTEGER PRIMARY KEY AUTOINCREMENT"
        yield* sql.unsafe(`CREATE TABLE ${p}effects (${id}, n INTEGER NOT NULL, event_key VARCHAR(10) NOT NULL)`)
        yield* poller.register("C")
        const members = Promise.all([0, 1, 2, 3, 4].map(member))
        for (let i = 0; i < 20; i++) {
          yield* generator.addAll(keyed(50, 25, i * 50))
          yield* Effect.sleep(60)
        }
        yield* Effect.promise(() => members)
        const last = yield* g.start(
          "last",
          (event) => sql.unsafe(`INSERT INTO ${p}effects (n, event_key) VALUES (${event.data.n}, '${event.data.key}')`)
        )
        const { consumers } = yield* services
        yield* until(Effect.map(consumers.list, ([info]) => info!.cursor === 1000n))
        yield* Fiber.interrupt(last)
      }),
      { prefix: p, ...soon }
    )
    const rows = await db().query(`SELECT n, event_key FROM ${p}effects ORDER BY id`)
    expect(rows.length).toBe(1000)
    inOrder(rows.map((row) => ({ n: Number(row.n), key: row.event_key })))
  })

  it("the end of the layer lets the batches in hand be finished and acknowledged, and gives everything back", async () => {
    const p = prefix()
    const g = group(4, { limit: 5 })
    const begun = new Set<number>()
    const scope = Effect.runSync(Scope.make())
    const context = await Effect.runPromise(Layer.buildWithScope(db().stream({ prefix: p, ...soon }), scope))
    const inStream = <A, E>(effect: Effect.Effect<A, E, any>) =>
      Effect.runPromise(Effect.provide(effect, context) as any)
    await inStream(Effect.gen(function*() {
      const { generator } = yield* services
      yield* generator.addAll(keyed(200, 40))
    }))
    const running = Effect.runFork(Effect.provide(
      Effect.flatMap(services, ({ pusher }) =>
        pusher.run("C", (event: any) =>
          Effect.gen(function*() {
            begun.add(event.data.n)
            yield* Effect.sleep(20)
            g.handled.push({ member: "a", ...event.data })
          }), { want: [Keyed], register: {}, partitions: 4, limit: 5 })),
      context
    ) as Effect.Effect<never, unknown>)
    while (g.handled.length < 10) await new Promise((resolve) => setTimeout(resolve, 10))
    await Effect.runPromise(Scope.close(scope, Exit.void))
    expect(Exit.isInterrupted(await Effect.runPromise(Fiber.await(running)))).toBe(true)
    // what was begun was finished
    expect(g.handled.map(({ n }) => n).sort((a, b) => a - b)).toEqual([...begun].sort((a, b) => a - b))
    await run(
      Effect.gen(function*() {
        const { consumers } = yield* services
        const [info] = yield* consumers.list
        expect(info!.state).toBe("idle")
        const fiber = yield* g.start("b")
        yield* g.has(200)
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: p, ...soon }
    )
    // and is not repeated
    expect(g.handled.length).toBe(200)
  })

  it("list and health know the partitions, a metric counts what is owned", async () => {
    const p = prefix()
    const g = group(4)
    await run(
      Effect.gen(function*() {
        const { consumers, generator, health } = yield* services
        const fiber = yield* g.start("a")
        yield* sharesAre("4")
        const [info] = yield* consumers.list
        expect(info).toMatchObject({ consumer: "local:C", state: "active", lease: undefined, exclusive: false })
        expect(info!.partitions!.map(({ number }) => number)).toEqual([0, 1, 2, 3])
        for (const { lag, owner } of info!.partitions!) {
          expect(owner!.expiresIn).toBeGreaterThan(0)
          expect(lag).toEqual({ events: 0, seconds: 0 })
        }
        const finding = (found: RegExp) =>
          Effect.map(health.diagnose(), (all) => all.find((one) => found.test(one.found)))
        expect(yield* finding(/local:C has 4 partitions in 1 runs/)).toMatchObject({ level: "ok" })
        const gauges = yield* Metric.snapshot
        expect(
          gauges.find(({ metricKey }) =>
            metricKey.name === "evt.group.partitions" && metricKey.tags.some(({ value }) => value === "local:C")
          )?.metricState
        ).toMatchObject({ value: 4 })
        yield* Fiber.interrupt(fiber)
        yield* generator.addAll(keyed(10, 5))
        yield* Effect.sleep(20)
        expect(
          (yield* consumers.list)[0]!.partitions!.every(({ lag, owner }) =>
            owner === undefined && lag.events === 10 && lag.seconds > 0
          )
        ).toBe(true)
        expect((yield* health.ready({ unacknowledged: 0 })).map(({ found }) => found).join()).toMatch(
          /local:C has 4 partitions, which nobody has/
        )
      }),
      { prefix: p, ...soon }
    )
  })

  it("what a consumer does not want, and events without a key, are in partitions, too", async () => {
    const p = prefix()
    const got: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { consumers, generator, pusher } = yield* services
        const fiber = yield* Effect.fork(
          pusher.run("C", (event: any) => Effect.sync(() => got.push(event.data.id)), {
            want: [Gone],
            register: {},
            partitions: 16
          })
        )
        yield* generator.addAll([
          ...keyed(100, 30),
          ...Array.from({ length: 100 }, (_, id) => Generator.event(Gone, { id })),
          ...keyed(100, 30)
        ])
        yield* until(Effect.map(consumers.list, ([info]) => info?.cursor === 300n))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: p, ...soon }
    )
    expect(got.sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, id) => id))
  })
})
