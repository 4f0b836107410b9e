import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import { expect, it } from "vitest"
import { Unknown } from "../../src/Event.js"
import type { EventId } from "../../src/EventId.js"
import { ConsumerFenced } from "../../src/EventStreamError.js"
import type { Message } from "../../src/layers/ftn18/coder.js"
import { json } from "../../src/layers/ftn18/coder.js"
import type { EventList } from "../../src/layers/ftn18/events.js"
import * as Push from "../../src/layers/ftn18/push.js"
import * as TakeOvers from "../../src/layers/ftn18/takeOvers.js"
import type { Subscription } from "../../src/layers/Pusher.js"

const event = (id: number, data = "1", type = "A") =>
  new Unknown({
    id: BigInt(id) as EventId,
    uid: "",
    type,
    key: null,
    keyHash: 0,
    meta: null,
    data,
    ts: Date.UTC(2026, 10, 25)
  })

interface Sent {
  readonly f: string
  readonly seq: number
  readonly ids: ReadonlyArray<string>
  readonly bytes: number
}

/** One page of events, a receiver that answers as it is told, and what happened until the delivery ended or waits. */
const delivery = (
  page: { readonly events: ReadonlyArray<Unknown>; readonly upTo: number },
  answers: (sent: Sent, n: number) => Message | undefined,
  options: { readonly minor?: number; readonly lost?: Effect.Effect<never, ConsumerFenced> } = {}
) => {
  const sent: Array<Sent> = []
  const acknowledged: Array<number> = []
  let given = false
  const subscription = {
    ident: "local:R",
    next: Effect.suspend(() => {
      if (given) return Effect.never
      given = true
      return Effect.succeed({ upTo: BigInt(page.upTo) })
    }),
    decode: () => ({ events: page.events }),
    step: (upTo: bigint) => Effect.sync(() => void acknowledged.push(Number(upTo))),
    lost: options.lost ?? Effect.never
  } as unknown as Subscription
  const line: Push.Line = {
    call: (f, p) =>
      Effect.sync(() => {
        const bytes = json.encode({ f, p, rid: "S1" }).length
        const one = { f, seq: p.seq as number, ids: (p.events as EventList).events.map(({ id }) => id), bytes }
        sent.push(one)
        return answers(one, sent.length)
      })
  }
  return { sent, acknowledged, run: Push.reliable(subscription, line, options.minor ?? 1) }
}

const onTestClock = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.runPromise(
    Effect.provide(Logger.withMinimumLogLevel(effect, LogLevel.None), TestContext.TestContext)
  )

/** Long enough for all pauses there are. */
const later = TestClock.adjust("10 minutes")

it("a page is cut by bytes, numbered without a gap, and acknowledged piece by piece", () =>
  onTestClock(Effect.gen(function*() {
    const events = [event(1, `"${"x".repeat(40_000)}"`), event(2, `"${"é".repeat(10_000)}"`), event(4), event(5)]
    const { acknowledged, run, sent } = delivery(
      { events: [...events, event(6, "1", "TYPE_2"), event(7, `"${"x".repeat(65_000 - 2)}"`)], upTo: 9 },
      () => ({ r: true }),
      { minor: 0 }
    )
    const fiber = yield* Effect.fork(run)
    yield* later
    expect(sent.map(({ f, ids, seq }) => [f, seq, ids])).toEqual([
      ["futoin.evt.receiver:1.0:onEvents", 0, ["1", "2", "4", "5"]],
      ["futoin.evt.receiver:1.0:onEvents", 1, ["7"]]
    ])
    for (const { bytes } of sent) expect(bytes).toBeLessThanOrEqual(65_536)
    expect(acknowledged).toEqual([5, 9])
    yield* Fiber.interrupt(fiber)
  })))

it("a page of nothing that can be shown is acknowledged without a call", () =>
  onTestClock(Effect.gen(function*() {
    const { acknowledged, run, sent } = delivery({ events: [event(1, "1", "TYPE_2")], upTo: 3 }, () => ({ r: true }))
    const fiber = yield* Effect.fork(run)
    yield* later
    expect([sent, acknowledged]).toEqual([[], [3]])
    yield* Fiber.interrupt(fiber)
  })))

it("an error gets the same events again, with the same number, after longer and longer pauses", () =>
  onTestClock(Effect.gen(function*() {
    const { acknowledged, run, sent } = delivery(
      { events: [event(1)], upTo: 1 },
      (_, n) => n < 4 ? { e: "InternalError" } : { r: true }
    )
    const fiber = yield* Effect.fork(run)
    yield* TestClock.adjust(0)
    for (const pause of [100, 200, 400]) {
      const before = sent.length
      yield* TestClock.adjust(pause - 1)
      expect(sent.length).toBe(before)
      yield* TestClock.adjust(1)
      expect(sent.length).toBe(before + 1)
    }
    expect(sent.map(({ ids, seq }) => [seq, ids])).toEqual(Array.from({ length: 4 }, () => [0, ["1"]]))
    expect(acknowledged).toEqual([1])
    yield* Fiber.interrupt(fiber)
  })))

it.each<readonly [string, Message | undefined, number, string]>([
  ["no answer", undefined, 1, "does not answer"],
  ["errors without an end", { e: "InternalError", edesc: "Not expected error" }, 10, "10 times with an error"],
  ["a result that is not true", { r: "yes" }, 10, "10 times with an error"]
])(
  "%s: the connection is given up, nothing is acknowledged",
  (_, answer, calls, why) =>
    onTestClock(Effect.gen(function*() {
      const { acknowledged, run, sent } = delivery({ events: [event(1)], upTo: 1 }, () => answer)
      const fiber = yield* Effect.fork(Effect.flip(run))
      yield* later
      const error = yield* Fiber.join(fiber)
      expect(error._tag === "Broken" && error.why).toContain(why)
      expect([sent.length, acknowledged]).toEqual([calls, []])
    }))
)

it("who has lost its place stops in the middle of a call", () =>
  onTestClock(Effect.gen(function*() {
    const lost = yield* Deferred.make<never, ConsumerFenced>()
    const { acknowledged, run, sent } = delivery(
      { events: [event(1)], upTo: 1 },
      () => ({ e: "InternalError" }),
      { lost: Deferred.await(lost) }
    )
    const fiber = yield* Effect.fork(Effect.flip(run))
    yield* TestClock.adjust("200 millis")
    yield* Deferred.fail(lost, new ConsumerFenced({ consumer: "local:R", epoch: "1" }))
    expect((yield* Fiber.join(fiber))._tag).toBe("ConsumerFenced")
    expect([sent.length, acknowledged]).toEqual([2, []])
  })))

it("a place is taken at once, and later and later by clients that take it from each other", () =>
  onTestClock(Effect.gen(function*() {
    const { wait } = TakeOvers.make()
    const waited = (ident: string) =>
      Effect.gen(function*() {
        const before = yield* TestClock.currentTimeMillis
        const fiber = yield* Effect.fork(Effect.zipRight(wait(ident), TestClock.currentTimeMillis))
        while ((yield* Fiber.poll(fiber))._tag === "None") yield* TestClock.adjust("500 millis")
        return (yield* Fiber.join(fiber)) - before
      })
    const times: Array<number> = []
    for (let i = 0; i < 7; i++) times.push(yield* waited("a:R"))
    expect(times).toEqual([0, 1000, 2000, 4000, 8000, 10_000, 10_000])
    expect(yield* waited("b:R")).toBe(0)
    yield* TestClock.adjust("2 minutes")
    expect(yield* waited("a:R")).toBe(0)
  })))
