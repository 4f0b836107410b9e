import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Together from "../../src/streams/Together.js"

/** What was asked for, together or alone; zero is held until `gate` opens, a negative number fails. */
const make = Effect.gen(function*() {
  const asked: Array<ReadonlyArray<number>> = []
  const gate = yield* Deferred.make<void>()
  const ask = (items: ReadonlyArray<number>) =>
    Effect.suspend(() => {
      asked.push(items)
      const answer = items.some((n) => n < 0) ? Effect.fail("negative") : Effect.succeed(items.map((n) => `#${n}`))
      return items.includes(0) ? Effect.zipRight(Deferred.await(gate), answer) : answer
    })
  return {
    asked,
    open: Deferred.succeed(gate, undefined),
    request: Together.make<number, string, string>({
      alone: (n) => Effect.map(ask([n]), ([answer]) => answer!),
      together: ask,
      maxItems: 10,
      patience: "100 millis"
    })
  }
})

const settle = Effect.forEach(Array.from({ length: 10 }), () => Effect.yieldNow(), { discard: true })

it.effect("who comes alone goes at once, who comes meanwhile goes together", () =>
  Effect.gen(function*() {
    const { asked, open, request } = yield* make
    const first = yield* Effect.fork(request(0))
    yield* settle
    const rest = yield* Effect.forEach([1, 2, 3], (n) => Effect.fork(request(n)))
    yield* settle
    expect(asked).toEqual([[0]])
    yield* open
    expect(yield* Effect.all([first, ...rest].map(Fiber.join))).toEqual(["#0", "#1", "#2", "#3"])
    expect(asked).toEqual([[0], [1, 2, 3]])
  }))

it.effect("a batch has a bound, and the rest follows", () =>
  Effect.gen(function*() {
    const { asked, request } = yield* make
    const many = Array.from({ length: 25 }, (_, i) => i + 1)
    expect(yield* Effect.forEach(many, request, { concurrency: "unbounded" })).toEqual(many.map((n) => `#${n}`))
    expect(asked.map((items) => items.length)).toEqual([10, 10, 5])
  }))

it.effect("nobody fails for another one's sake", () =>
  Effect.gen(function*() {
    const { asked, request } = yield* make
    const exits = yield* Effect.forEach([1, -2, 3], (n) => Effect.exit(request(n)), { concurrency: "unbounded" })
    expect(exits).toEqual([Exit.succeed("#1"), Exit.fail("negative"), Exit.succeed("#3")])
    expect(asked).toEqual([[1, -2, 3], [1], [-2], [3]])
    expect(yield* Effect.exit(request(-4))).toEqual(Exit.fail("negative"))
  }))

it.effect("what takes longer than that is not waited for by the others", () =>
  Effect.gen(function*() {
    const { asked, open, request } = yield* make
    const slow = yield* Effect.fork(request(0))
    yield* settle
    const other = yield* Effect.fork(request(1))
    yield* TestClock.adjust("99 millis")
    expect(asked).toEqual([[0]])
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(other)).toBe("#1")
    // it ends while another one is on its way, and lets nobody go before that
    const held = yield* Effect.fork(request(0))
    yield* settle
    const next = yield* Effect.fork(request(2))
    yield* settle
    expect(asked).toEqual([[0], [1], [0]])
    yield* open
    expect(yield* Effect.all([slow, held, next].map(Fiber.join))).toEqual(["#0", "#0", "#2"])
    expect(asked).toEqual([[0], [1], [0], [2]])
  }))

it.effect("an interrupted caller is withdrawn before its request went; afterwards it waits for that, within a bound", () =>
  Effect.gen(function*() {
    const { asked, open, request } = yield* make
    const first = yield* Effect.fork(request(0))
    yield* settle
    const [gone, stays] = [yield* Effect.fork(request(1)), yield* Effect.fork(request(2))]
    yield* settle
    yield* Fiber.interrupt(gone)
    const interrupting = yield* Effect.fork(Fiber.interrupt(first))
    yield* settle
    expect(interrupting.unsafePoll()).toBe(null)
    yield* open
    yield* Fiber.join(interrupting)
    expect(yield* Fiber.join(stays)).toBe("#2")
    expect(asked).toEqual([[0], [2]])
    const never = yield* make
    const stuck = yield* Effect.fork(never.request(0))
    yield* settle
    const giving = yield* Effect.fork(Fiber.interrupt(stuck))
    yield* TestClock.adjust("5 seconds")
    expect(Exit.isInterrupted(yield* Fiber.join(giving))).toBe(true)
  }))

it.effect("one that must not be interrupted does not make the others so", () =>
  Effect.gen(function*() {
    let interruptible: boolean | undefined
    const request = Together.make<number, boolean, never>({
      alone: () =>
        Effect.checkInterruptible((is) =>
          Effect.sync(() => {
            interruptible = is
            return is
          })
        ),
      together: (items) => Effect.succeed(items.map(() => true)),
      maxItems: 10,
      patience: "100 millis"
    })
    yield* Effect.uninterruptible(request(1))
    expect(interruptible).toBe(true)
  }))
