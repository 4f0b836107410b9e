import * as SqlClient from "@effect/sql/SqlClient"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { randomBytes } from "node:crypto"
import { expect, it } from "vitest"
import { Delivery, EventType, Generator } from "../src/index.js"
import { Added, Gone, onEach, services } from "./support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })
const ids = (events: ReadonlyArray<any>): ReadonlyArray<number> => events.map((e) => e.data.id)
const gone = (n: number, from = 1) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: from + i }))
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const fast = Schedule.recurs(2)

/** What is looked at of a span. */
class Recorded implements Tracer.Span {
  readonly _tag = "Span"
  readonly traceId: string
  readonly spanId = randomBytes(8).toString("hex")
  readonly sampled = true
  readonly attributes = new Map<string, unknown>()
  status: Tracer.SpanStatus
  constructor(
    readonly name: string,
    readonly parent: Option.Option<Tracer.AnySpan>,
    readonly context: Context.Context<never>,
    readonly links: ReadonlyArray<Tracer.SpanLink>,
    startTime: bigint,
    readonly kind: Tracer.SpanKind
  ) {
    this.traceId = Option.isSome(parent) ? parent.value.traceId : randomBytes(16).toString("hex")
    this.status = { _tag: "Started", startTime }
  }
  end() {}
  attribute(key: string, value: unknown) {
    this.attributes.set(key, value)
  }
  event() {}
  addLinks() {}
}

/** Waits until a queue has given `n` items. */
const takeN = <A>(queue: Queue.Queue<A>, n: number) => Effect.all(Array.from({ length: n }, () => Queue.take(queue)))

onEach("Pusher.subscribe", ({ prefix, run, via }) => {
  it("history first, then the live tail: no gap, no repeat, in order, acknowledged after handling", async () => {
    const seen: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* generator.addAll(gone(2500))
        const all = yield* Effect.makeLatch(false)
        const fiber = yield* Effect.fork(
          pusher.subscribe("C", { want: [Gone], register: {} }).pipe(
            Delivery.handle((events) =>
              Effect.sync(() => {
                seen.push(...ids(events))
                if (seen.length >= 4000) all.unsafeOpen()
              })
            ),
            Stream.runDrain
          )
        )
        // written while the history is read, by transactions and adds
        yield* Effect.forEach(range(150), (i): Effect.Effect<unknown, any> => {
          const events = gone(10, 2501 + (i - 1) * 10)
          return i % 2 === 0 ? generator.addAll(events) : generator.transaction(generator.emitAll(events))
        }, { discard: true })
        yield* all.await
        yield* Effect.sleep(100)
        yield* Fiber.interrupt(fiber)
        expect((yield* poller.poll("C")).events).toEqual([])
      }),
      { prefix: prefix() }
    )
    expect(seen).toEqual(range(4000))
  })

  it("what was not acknowledged is delivered again; acknowledgements are cumulative and never go back", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(10))
        const take = (n: number) =>
          Stream.runCollect(Stream.take(pusher.subscribe("C", { want: [Gone], limit: 2 }), n)).pipe(
            Effect.map((chunk) => [...chunk])
          )
        expect((yield* take(2)).map(({ batch }) => ids(batch.events))).toEqual([[1, 2], [3, 4]])
        yield* pusher.subscribe("C", { want: [Gone], limit: 2 }).pipe(
          Stream.take(3),
          Stream.runCollect,
          Effect.flatMap((chunk) =>
            Effect.gen(function*() {
              const [first, second, third] = [...chunk]
              expect(ids(first!.batch.events)).toEqual([1, 2])
              yield* second!.ack
              yield* first!.ack
              yield* second!.ack
              expect(ids(third!.batch.events)).toEqual([5, 6])
            })
          )
        )
        expect(ids((yield* poller.poll("C", { want: [Gone] })).events)[0]).toBe(5)
      }),
      { prefix: prefix() }
    )
  })

  it("an older delivery of Poller.stream that is acknowledged late does not move the cursor back", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(6))
        const [first, second] = [
          ...yield* Stream.runCollect(Stream.take(poller.stream("C", { want: [Gone], limit: 2 }), 2))
        ]
        yield* second!.ack
        yield* first!.ack
        expect(ids((yield* poller.poll("C", { want: [Gone] })).events)).toEqual([5, 6])
      }),
      { prefix: prefix() }
    )
  })

  it("no more than maxInFlight batches are delivered without acknowledgement", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        yield* generator.addAll(gone(20))
        const got = yield* Queue.unbounded<Delivery.Delivery<any, any>>()
        yield* Effect.forkScoped(
          Stream.runForEach(
            pusher.subscribe("C", { want: [Gone], limit: 1, maxInFlight: 3, register: {} }),
            (delivery) => Queue.offer(got, delivery)
          )
        )
        const [, , third] = yield* takeN(got, 3)
        yield* Effect.sleep(300)
        expect(yield* Queue.size(got)).toBe(0)
        yield* third!.ack
        expect((yield* takeN(got, 3)).map(({ batch }) => ids(batch.events)[0])).toEqual([4, 5, 6])
      }),
      { prefix: prefix() }
    )
  })

  it("what is not wanted moves the cursor as well", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(30))
        const fiber = yield* Effect.fork(
          pusher.subscribe("C", { want: [Added] }).pipe(Delivery.handle(() => Effect.void), Stream.runDrain)
        )
        yield* Effect.retry(
          Effect.filterOrFail(
            poller.poll("C", { want: [Gone] }),
            (b) => b.events.length === 0,
            () => "not yet" as const
          ),
          Schedule.spaced("50 millis")
        ).pipe(Effect.timeout("10 seconds"))
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix() }
    )
  })

  it("one active receiver: fail, wait, takeOver; who lost cannot move the cursor", async () => {
    const name = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* poller.register("C")
        yield* generator.addAll(gone(4))
        const open = (whenBusy: "wait" | "takeOver" | "fail") =>
          Effect.gen(function*() {
            const got = yield* Queue.unbounded<Delivery.Delivery<any, any>>()
            const fiber = yield* Effect.fork(
              Stream.runForEach(pusher.subscribe("C", { want: [Gone], limit: 1, whenBusy }), (d) => Queue.offer(got, d))
            )
            return { got, fiber }
          })
        const first = yield* open("wait")
        const early = yield* Queue.take(first.got)
        expect(yield* Effect.flip(Stream.runDrain(pusher.subscribe("C", { whenBusy: "fail" })))).toMatchObject({
          _tag: "ConsumerBusy",
          consumer: "local:C"
        })
        const second = yield* open("takeOver")
        const again = yield* Queue.take(second.got)
        expect(ids(again.batch.events)).toEqual([1])
        expect(yield* Effect.flip(early.ack)).toMatchObject({ _tag: "ConsumerFenced", consumer: "local:C" })
        expect(ids((yield* poller.poll("C", { want: [Gone] })).events)).toEqual([1, 2, 3, 4])
        const third = yield* open("wait")
        yield* again.ack
        yield* Effect.sleep(200)
        expect(yield* Queue.size(third.got)).toBe(0)
        yield* Fiber.interrupt(second.fiber)
        expect(ids((yield* Queue.take(third.got)).batch.events)).toEqual([2])
        yield* Fiber.interrupt(third.fiber)
        yield* Fiber.interrupt(first.fiber)
      }),
      { prefix: name }
    )
  })

  it("bad options and unknown consumers get their own errors", async () => {
    await run(
      Effect.gen(function*() {
        const { pusher } = yield* services
        const fails = <A, E>(stream: Stream.Stream<A, E>) => Effect.flip(Stream.runDrain(stream))
        expect(yield* fails(pusher.subscribe("NOBODY"))).toMatchObject({ _tag: "NotRegistered" })
        expect(yield* fails(pusher.subscribe("LIVE"))).toMatchObject({ _tag: "LiveNotAllowed" })
        expect(yield* fails(pusher.subscribe("a b"))).toMatchObject({ _tag: "InvalidConsumer" })
        expect(yield* fails(pusher.subscribe("C", { limit: 0 }))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* fails(pusher.subscribe("C", { maxInFlight: 0 }))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* fails(pusher.live([Gone], { buffer: 0 }))).toMatchObject({ _tag: "InvalidOption" })
        expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { concurrency: 0 }))).toMatchObject({
          _tag: "InvalidOption"
        })
        expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { concurrency: 2, exactlyOnce: true })))
          .toMatchObject({ _tag: "InvalidOption", option: "concurrency" })
      }),
      { prefix: prefix() }
    )
  })

  it("ten subscribers get everything while one of them is stopped", async () => {
    const seen: Array<Array<number>> = range(9).map(() => [])
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* Effect.forEach(range(10), (i) => poller.register(`C${i}`))
        const all = yield* Effect.makeLatch(false)
        yield* Effect.forkScoped(
          pusher.subscribe("C10", { want: [Gone] }).pipe(Delivery.handle(() => Effect.never), Stream.runDrain)
        )
        for (const [i, mine] of seen.entries()) {
          yield* Effect.forkScoped(
            pusher.subscribe(`C${i + 1}`, { want: [Gone] }).pipe(
              Delivery.handle((events) =>
                Effect.sync(() => {
                  mine.push(...ids(events))
                  if (seen.every((one) => one.length === 3000)) all.unsafeOpen()
                })
              ),
              Stream.runDrain
            )
          )
        }
        yield* Effect.forEach(range(30), (i) => generator.addAll(gone(100, (i - 1) * 100 + 1)), { discard: true })
        yield* all.await
      }),
      { prefix: prefix() }
    )
    for (const mine of seen) expect(mine).toEqual(range(3000))
  })

  it("a background sequencer that sleeps does not keep the tail from seeing what others commit", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        const got = yield* Queue.unbounded<number>()
        yield* Effect.forkScoped(
          pusher.subscribe("C", { want: [Gone], register: {} }).pipe(
            Delivery.handle((events) => Queue.offerAll(got, ids(events))),
            Stream.runDrain
          )
        )
        yield* generator.add(Gone, { id: 1 })
        expect(yield* Queue.take(got)).toBe(1)
        // without a hint, as another program would
        for (const id of [2, 3]) {
          yield* Effect.sleep(300)
          const { params, sql: text } = yield* generator.statement([Generator.event(Gone, { id })])
          yield* sql.unsafe(text, params as Array<any>)
          expect(yield* Queue.take(got)).toBe(id)
        }
      }),
      { prefix: prefix(), sequencer: { idle: Schedule.spaced("1 hour") } }
    )
  }, 15_000)

  it("live starts now, skips the oldest when it is slow, and says how many", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        yield* generator.addAll(gone(5))
        const got: Array<any> = []
        const begun = yield* Effect.makeLatch(false)
        const go = yield* Effect.makeLatch(false)
        const fiber = yield* Effect.fork(Stream.runForEach(
          pusher.live([Gone], { buffer: 100 }).pipe(
            Stream.rechunk(1),
            Stream.takeUntil((e: any) => e.data?.id === 3000)
          ),
          (event) =>
            Effect.gen(function*() {
              got.push(event)
              begun.unsafeOpen()
              yield* go.await
            })
        ))
        // something else keeps the tail moving
        yield* Effect.forkScoped(
          pusher.subscribe("C", { register: {} }).pipe(Delivery.handle(() => Effect.void), Stream.runDrain)
        )
        let n = 5
        while (got.length === 0) {
          yield* generator.addAll(gone(1, ++n))
          yield* Effect.sleep(20)
        }
        const last = n
        yield* Effect.forEach(
          range(10),
          () =>
            Effect.suspend(() =>
              generator.addAll(gone(200, n + 1)).pipe(Effect.tap(() =>
                Effect.sync(() => {
                  n += 200
                })
              ))
            ),
          { discard: true }
        )
        yield* generator.add(Gone, { id: 3000 })
        yield* Effect.sleep(500)
        yield* go.open
        yield* Fiber.join(fiber)
        expect(got[0]._tag).toBe("Known")
        expect(got[0].data.id).toBeGreaterThan(5)
        const gaps = got.filter((e) => e._tag === "Gap")
        // over HTTP much of it waits in buffers of the system
        if (via !== "http") expect(gaps.length).toBeGreaterThan(0)
        const missed = gaps.reduce((sum, gap) => sum + gap.missed, 0)
        const seen = got.filter((e) => e._tag === "Known")
        // everything from the first one on is there, or counted
        expect(seen.length + missed).toBe(n - got[0].data.id + 2)
        expect(last).toBeLessThanOrEqual(n)
      }),
      { prefix: prefix() }
    )
  })
}, { remote: true })

onEach("Pusher.run", ({ prefix, run, via }) => {
  it("retries, gives up into the dead letters, and goes on in order", async () => {
    const name = prefix()
    const calls: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* generator.addAll(gone(5))
        const end = yield* Effect.makeLatch(false)
        const fiber = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.suspend(() => {
            if (event._tag !== "Known") return Effect.void
            calls.push(event.data.id)
            if (event.data.id === 5) end.unsafeOpen()
            return event.data.id === 3 ? Effect.fail(`bad \u0000 'quote' \\ 😀`) : Effect.void
          }), { want: [Gone], register: {}, retry: fast, poison: "deadLetter" }))
        yield* end.await
        yield* Effect.retry(
          Effect.filterOrFail(poller.poll("C"), (b) => b.events.length === 0, () => "not yet" as const),
          Schedule.spaced("20 millis")
        )
        yield* Fiber.interrupt(fiber)
        const rows = yield* sql.unsafe<any>(`SELECT ident, type, error, attempts FROM ${name}dead_letters`)
        expect(rows.length).toBe(1)
        expect(rows[0]).toMatchObject({ ident: "local:C", type: "USR_DEL", attempts: 3 })
        expect(rows[0].error).toContain("'quote' \\ 😀")
      }),
      { prefix: name }
    )
    expect(calls).toEqual([1, 2, 3, 3, 3, 4, 5])
  })

  it("counts what it does, and links the span of a batch to the transaction that emitted", async () => {
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (name, parent, context, links, startTime, kind) => {
        const span = new Recorded(name, parent, context, links, startTime, kind)
        spans.push(span)
        return span
      },
      context: (f) => f()
    })
    // over the network everybody has its own user only
    const user = via === "here" ? "metrics" : "local"
    const consumer = { user, component: `C${Math.floor(Math.random() * 1e9)}` }
    const ident = `${user}:${consumer.component}`
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        yield* Effect.withSpan(generator.transaction(generator.emitAll(gone(3))), "checkout")
        const end = yield* Effect.makeLatch(false)
        let failures = 0
        const fiber = yield* Effect.fork(pusher.run(consumer, (event) =>
          Effect.suspend(() => {
            if (event._tag !== "Known") return Effect.void
            if (event.data.id === 3) end.unsafeOpen()
            return event.data.id === 2 && failures++ === 0 ? Effect.fail("once") : Effect.void
          }), { want: [Gone], register: {}, retry: fast }))
        yield* end.await
        yield* Effect.sleep(300)
        yield* Fiber.interrupt(fiber)
        const metrics = (yield* Metric.snapshot).filter(({ metricKey }) =>
          metricKey.tags.some(({ value }) => value === ident)
        )
        const value = (name: string) => {
          const state: any = metrics.find(({ metricKey }) => metricKey.name === name)?.metricState
          return state?.count ?? state?.value
        }
        expect(value("messaging.client.consumed.messages")).toBe(3)
        expect(value("evt.consumer.retries")).toBe(1)
        expect(value("evt.consumer.lag.events")).toBe(0)
        expect(value("evt.consumer.lag.seconds")).toBeGreaterThanOrEqual(0)
      }).pipe(Effect.withTracer(tracer)),
      { prefix: prefix() }
    )
    const checkout = spans.find(({ name }) => name === "checkout")!
    const process = spans.find(({ name }) => name === `process ${ident}`)!
    expect(process.kind).toBe("consumer")
    expect(process.attributes.get("messaging.batch.message_count")).toBe(3)
    expect(process.links.map(({ span }) => span.traceId)).toContain(checkout.traceId)
  })

  it("stop ends the run with HandlerFailed and leaves the cursor before the event", async () => {
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        yield* generator.addAll(gone(5))
        const failed = yield* Effect.flip(
          pusher.run(
            "C",
            (event) => event._tag === "Known" && event.data.id === 3 ? Effect.dieMessage("no") : Effect.void,
            {
              want: [Gone],
              register: {},
              retry: fast
            }
          )
        )
        expect(failed).toMatchObject({
          _tag: "HandlerFailed",
          consumer: "local:C",
          id: 3n,
          type: "USR_DEL",
          attempts: 3
        })
        expect(ids((yield* poller.poll("C", { want: [Gone] })).events)).toEqual([3, 4, 5])
      }),
      { prefix: prefix() }
    )
  })

  it("a batch handler that fails is tried event by event; a handler that never returns is cut off", async () => {
    const good: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        yield* generator.addAll(gone(4))
        const end = yield* Effect.makeLatch(false)
        const fiber = yield* Effect.fork(pusher.run("C", {
          batch: (events) =>
            ids(events).includes(2)
              ? Effect.never
              : Effect.sync(() => {
                good.push(...ids(events))
                if (good.length === 3) end.unsafeOpen()
              })
        }, { want: [Gone], register: {}, retry: Schedule.recurs(1), timeLimit: "50 millis", poison: "skip" }))
        yield* end.await
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix() }
    )
    expect(good).toEqual([1, 3, 4])
  })

  it("concurrency keeps the order of each key", async () => {
    const order = new Map<string, Array<number>>()
    let most = 0
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        yield* generator.addAll(range(200).map((n) => Generator.event(Keyed, { key: `k${n % 3}`, n })))
        const end = yield* Effect.makeLatch(false)
        let now = 0
        let count = 0
        const fiber = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.gen(function*() {
            if (event._tag !== "Known") return
            most = Math.max(most, ++now)
            yield* Effect.sleep((event.data.n * 7) % 5)
            order.set(event.data.key, [...order.get(event.data.key) ?? [], event.data.n])
            now--
            if (++count === 200) end.unsafeOpen()
          }), { want: [Keyed], register: {}, concurrency: 5 }))
        yield* end.await
        yield* Fiber.interrupt(fiber)
      }),
      { prefix: prefix() }
    )
    expect(most).toBeGreaterThan(1)
    expect(most).toBeLessThanOrEqual(3)
    for (const ns of order.values()) expect(ns).toEqual([...ns].sort((a, b) => a - b))
    expect([...order.values()].flat().length).toBe(200)
  })

  it("interrupted in a handler, it gives back its lease and leaves the cursor at the last acknowledged event", async () => {
    const name = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* poller.register("C")
        yield* generator.addAll(gone(6))
        for (const exactlyOnce of via === "here" ? [false, true] : [false]) {
          const reached = yield* Effect.makeLatch(false)
          const fiber = yield* Effect.fork(
            pusher.run("C", (event) =>
              event._tag === "Known" && event.data.id >= (exactlyOnce ? 5 : 3)
                ? Effect.zipRight(reached.open, Effect.never)
                : Effect.void, { want: [Gone], limit: 2, exactlyOnce })
          )
          yield* reached.await
          yield* Fiber.interrupt(fiber)
          expect(yield* sql.unsafe(`SELECT name FROM ${name}leases`)).toEqual([])
          expect(ids((yield* poller.poll("C", { want: [Gone] })).events)[0]).toBe(exactlyOnce ? 5 : 3)
        }
      }),
      { prefix: name }
    )
  })

  it("exactlyOnce refuses a handler whose client is another database", async () => {
    await run(
      Effect.gen(function*() {
        const { pusher } = yield* services
        const layer = (yield* Effect.promise(() => import("../src/sqlite.js"))).client(":memory:")
        const refused = yield* Effect.flip(
          Effect.provide(pusher.run("C", () => Effect.void, { exactlyOnce: true, register: {} }), layer)
        )
        expect(refused).toMatchObject({ _tag: "ForeignTransaction" })
      }),
      { prefix: prefix() }
    )
  })

  // with the stream's database at hand
  if (via !== "here") return
  it("exactlyOnce: what a failed attempt wrote is rolled back, every event takes effect once", async () => {
    const name = prefix()
    const table = `${name}effects`
    const calls: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe(`CREATE TABLE ${table} (id INTEGER NOT NULL)`)
        yield* generator.addAll(gone(20))
        let failures = 0
        const fiber = yield* Effect.fork(pusher.run("C", (event) =>
          Effect.gen(function*() {
            if (event._tag !== "Known") return
            calls.push(event.data.id)
            yield* sql.unsafe(`INSERT INTO ${table} VALUES (${event.data.id})`)
            if (event.data.id === 7 && failures++ < 2) return yield* Effect.fail("not yet")
            if (event.data.id === 13) return yield* Effect.fail("never")
          }), { want: [Gone], register: {}, retry: fast, poison: "deadLetter", exactlyOnce: true, limit: 15 }))
        yield* Effect.retry(
          Effect.filterOrFail(
            sql.unsafe<any>(`SELECT id FROM ${table} ORDER BY id`),
            (rows) => rows.length >= 19,
            () => "not yet" as const
          ),
          Schedule.spaced("50 millis")
        ).pipe(Effect.timeout("20 seconds"))
        yield* Effect.sleep(200)
        yield* Fiber.interrupt(fiber)
        expect((yield* poller.poll("C")).events).toEqual([])
        const rows = yield* sql.unsafe<any>(`SELECT id FROM ${table}`)
        expect(rows.map((row) => row.id).sort((a, b) => a - b)).toEqual(range(20).filter((id) => id !== 13))
        const letters = yield* sql.unsafe<any>(`SELECT attempts FROM ${name}dead_letters`)
        expect(letters).toMatchObject([{ attempts: 3 }])
        // not once more for having been rolled back with others
        expect(calls.filter((id) => id === 13).length).toBe(3)
      }),
      { prefix: name }
    )
  })

  it("exactlyOnce: a batch handler that fails is tried event by event, and only the one that cannot be handled is given up", async () => {
    const name = prefix()
    const calls: Array<ReadonlyArray<number>> = []
    await run(
      Effect.gen(function*() {
        const { generator, pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        yield* sql.unsafe(`CREATE TABLE ${name}effects (id INTEGER NOT NULL)`)
        yield* generator.addAll(gone(6))
        const fiber = yield* Effect.fork(pusher.run("C", {
          batch: (events) =>
            Effect.gen(function*() {
              calls.push(ids(events))
              for (const id of ids(events)) {
                yield* sql.unsafe(`INSERT INTO ${name}effects VALUES (${id})`)
                if (id === 4) yield* Effect.dieMessage("never")
              }
            })
        }, { want: [Gone], register: {}, retry: Schedule.recurs(1), poison: "deadLetter", exactlyOnce: true }))
        while (calls[calls.length - 1]?.[0] !== 6) yield* Effect.sleep(20)
        yield* Effect.sleep(200)
        yield* Fiber.interrupt(fiber)
        const rows = yield* sql.unsafe<any>(`SELECT id FROM ${name}effects`)
        expect(rows.map((row) => row.id).sort()).toEqual([1, 2, 3, 5, 6])
        expect(yield* sql.unsafe(`SELECT attempts FROM ${name}dead_letters`)).toMatchObject([{ attempts: 2 }])
      }),
      { prefix: name }
    )
    expect(calls).toEqual([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1], [2], [3], [4], [4], [5], [6]])
  })

  it.each(["read committed", "repeatable read", "serializable"] as const)(
    "exactlyOnce at %s, with renewals running: no conflict between lease and cursor",
    async (isolation) => {
      const name = prefix()
      const calls: Array<number> = []
      await run(
        Effect.gen(function*() {
          const { generator, pusher } = yield* services
          const sql = yield* SqlClient.SqlClient
          yield* sql.unsafe(`CREATE TABLE ${name}effects (id INTEGER NOT NULL)`)
          yield* generator.addAll(gone(60))
          const fiber = yield* Effect.fork(pusher.run("C", (event) =>
            Effect.gen(function*() {
              if (event._tag !== "Known") return
              calls.push(event.data.id)
              yield* sql.unsafe(`INSERT INTO ${name}effects VALUES (${event.data.id})`)
              yield* Effect.sleep(20)
            }), { want: [Gone], register: {}, exactlyOnce: true, isolation, limit: 5 }))
          while (calls.length < 60) yield* Effect.sleep(20)
          yield* Effect.sleep(200)
          yield* Fiber.interrupt(fiber)
          const rows = yield* sql.unsafe<any>(`SELECT id FROM ${name}effects`)
          expect(rows.map((row) => row.id).sort((a, b) => a - b)).toEqual(range(60))
        }),
        { prefix: name, pusher: { leaseTtl: "1 second" } }
      )
      // a conflict would have called the handler again
      expect(calls).toEqual(range(60))
    }
  )
}, { remote: true })
