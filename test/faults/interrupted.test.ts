/**
 * A fiber is interrupted at any moment, as a deployment or a time limit does it. It takes nothing with it: its lease and
 * its connections are given back, and the cursor is where it was acknowledged.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { type Delivery, Generator } from "../../src/index.js"
import { Gone, onEach, services, type StreamServices } from "../support/stream.js"
import { rounds } from "./rounds.js"

const connections = 4
const times = rounds(40, 1000)

/** At once, within the first steps of the fiber, or somewhere in its life; some when it has got as far as `begun`. */
const anyMoment = (begun: () => boolean) =>
  Effect.suspend(() => {
    const kind = Math.random()
    if (kind < 0.3) return Effect.repeatN(Effect.yieldNow(), Math.floor(Math.random() * 100))
    if (kind < 0.8) return Effect.sleep(Math.random() * (kind < 0.6 ? 10 : 60))
    const waiting = Effect.repeat(Effect.sleep(1), { until: begun })
    return Effect.zipRight(Effect.timeoutOption(waiting, "5 seconds"), Effect.sleep(Math.random() * 20))
  })

/** Runs it until it is interrupted, or ends before; that it must not fail is part of the promise. */
const interrupting = <A, E, R>(effect: Effect.Effect<A, E, R>, begun: () => boolean = () => true) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(effect)
    yield* anyMoment(begun)
    const exit = yield* Fiber.interrupt(fiber)
    if (Exit.isFailure(exit) && !Exit.isInterrupted(exit)) yield* exit
    return exit
  })

/** What a consumer knows of itself when it is interrupted. */
interface Life {
  /** The first id that it got. */
  first: bigint | undefined
  /** Where the cursor is allowed to be. */
  allowed: ReadonlyArray<bigint>
}

/** Handles a batch with a pause in it. */
const handle = (life: Life, events: ReadonlyArray<{ readonly id: bigint }>) =>
  Effect.suspend(() => {
    const before = events[0]!.id - 1n
    life.first ??= events[0]!.id
    // the next batch is given out when the last one is acknowledged
    life.allowed = [before]
    return Effect.map(Effect.sleep(Math.random() * 2), () => {
      life.allowed = [before, events[events.length - 1]!.id]
    })
  })

const options = { want: [Gone], limit: 5 } as const

const acknowledging = <X, E>(life: Life, self: Stream.Stream<Delivery.Delivery<{ readonly id: bigint }, X>, E>) =>
  Stream.runForEach(self, ({ ack, batch: { events } }) =>
    Effect.gen(function*() {
      if (events.length > 0) yield* handle(life, events)
      yield* ack
      if (events.length > 0) life.allowed = life.allowed.slice(1)
    }))

const forms: Record<string, (p: string, life: Life) => Effect.Effect<unknown, unknown, StreamServices>> = {
  "pusher.run": (_, life) =>
    Effect.flatMap(services, ({ pusher }) => pusher.run("C", { batch: (events) => handle(life, events) }, options)),
  "pusher.run exactlyOnce": (p, life) =>
    Effect.flatMap(services, ({ pusher }) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) =>
        pusher.run("C", {
          batch: (events) =>
            Effect.zipRight(
              sql.unsafe(`INSERT INTO ${p}effects (id) VALUES ${events.map(({ id }) => `(${id})`).join(", ")}`),
              handle(life, events)
            )
        }, { ...options, exactlyOnce: true }))),
  "pusher.subscribe": (_, life) =>
    Effect.flatMap(services, ({ pusher }) => acknowledging(life, pusher.subscribe("C", options))),
  "poller.stream": (_, life) =>
    Effect.flatMap(services, ({ poller }) => acknowledging(life, poller.stream("C", options)))
}

onEach("A fiber interrupted at any moment", ({ backend, db, prefix, run }) => {
  const onSmallPool = <A, E>(p: string, effect: Effect.Effect<A, E, StreamServices>) =>
    run(effect, { prefix: p }, { maxConnections: connections })

  /** As many as the pool has connections hold one at the same time. On SQLite there is one, and it is free. */
  const servesAll = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const n = backend === "sqlite" ? 1 : connections
    const all = yield* Effect.makeLatch(false)
    let inside = 0
    const hold = sql.withTransaction(Effect.gen(function*() {
      yield* sql.unsafe("SELECT 1")
      if (++inside === n) yield* all.open
      yield* all.await
    }))
    yield* Effect.all(Array.from({ length: n }, () => hold), { concurrency: "unbounded", discard: true }).pipe(
      Effect.timeoutFail({
        duration: "15 seconds",
        onTimeout: () => new Error(`${inside} of ${n} connections can be had`)
      })
    )
  })

  const ids = (text: string) => Effect.promise(async () => (await db().query(text)).map((row) => BigInt(row.id)))

  it.each(Object.keys(forms))("%s gives back its lease and connections, its cursor is where it was", async (name) => {
    const p = prefix()
    await onSmallPool(
      p,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* sql.unsafe(`CREATE TABLE ${p}effects (id INTEGER NOT NULL)`)
        let cursor = 0n
        let handled = 0
        for (let n = 0; n < times; n++) {
          yield* generator.addAll(Array.from({ length: 20 }, (_, id) => Generator.event(Gone, { id })))
          const life: Life = { first: undefined, allowed: [cursor] }
          yield* interrupting(forms[name]!(p, life), () => life.first !== undefined)
          expect(yield* Effect.promise(() => db().query(`SELECT * FROM ${p}leases`))).toEqual([])
          if (life.first !== undefined) {
            handled++
            expect(life.first).toBe(cursor + 1n)
          }
          cursor = (yield* ids(`SELECT last_evt_id AS id FROM ${p}consumers`))[0]!
          expect(life.allowed).toContain(cursor)
          yield* servesAll
        }
        const effects = yield* ids(`SELECT id FROM ${p}effects ORDER BY id`)
        if (name.endsWith("exactlyOnce")) {
          expect(effects).toEqual(Array.from({ length: Number(cursor) }, (_, i) => BigInt(i + 1)))
        }
        // some of them were far enough to be worth it
        expect(handled).toBeGreaterThan(times / 10)
        expect(cursor).toBeGreaterThan(0n)
      })
    )
  })

  it("generator.transaction commits row and event or neither, and gives back its connection", async () => {
    const p = prefix()
    await onSmallPool(
      p,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { generator, poller } = yield* services
        yield* sql.unsafe(`CREATE TABLE ${p}ledger (id INTEGER PRIMARY KEY)`)
        const committed: Array<bigint> = []
        for (let id = 1; id <= times; id++) {
          const exit = yield* interrupting(generator.transaction(Effect.gen(function*() {
            yield* sql.unsafe(`INSERT INTO ${p}ledger (id) VALUES (${id})`)
            yield* Effect.sleep(Math.random() * 10)
            yield* generator.emit(Gone, { id })
          })))
          if (Exit.isSuccess(exit)) committed.push(BigInt(id))
          yield* servesAll
        }
        const ledger = yield* ids(`SELECT id FROM ${p}ledger ORDER BY id`)
        const { events } = yield* poller.poll("LIVE", { want: [Gone] })
        expect(events.map((event) => event._tag === "Known" ? BigInt(event.data.id) : -1n)).toEqual(ledger)
        expect(committed.filter((id) => !ledger.includes(id))).toEqual([])
        expect(ledger.length).toBeLessThan(times)
        expect(committed.length).toBeGreaterThan(0)
      })
    )
  })

  it("generator.add writes its event once or not at all, and gives back its connection", async () => {
    const p = prefix()
    await onSmallPool(
      p,
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        const answered = new Map<number, bigint>()
        for (let n = 0; n < times; n++) {
          // some at once, of which one is interrupted
          const add = (id: number) => Effect.tap(generator.add(Gone, { id }), (at) => answered.set(id, at))
          const others = yield* Effect.fork(Effect.all([add(n * 3), add(n * 3 + 1)], { concurrency: 2 }))
          yield* interrupting(add(n * 3 + 2))
          yield* Fiber.join(others)
          yield* servesAll
        }
        const found = new Map<number, bigint>()
        for (let lastId: bigint | undefined, more = true; more;) {
          const { events, upTo } = yield* poller.poll("LIVE", { want: [Gone], lastId })
          for (const event of events) {
            if (event._tag !== "Known") continue
            expect(found.has(event.data.id)).toBe(false)
            found.set(event.data.id, event.id)
          }
          more = events.length > 0
          lastId = upTo
        }
        for (const [id, at] of answered) expect(found.get(id)).toBe(at)
        expect(answered.size).toBeGreaterThanOrEqual(2 * times)
      })
    )
  })
})
