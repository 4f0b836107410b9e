import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Idle from "../../src/streams/Idle.js"

/** Whether a pause ends at the given millisecond of the test clock, and not one before. */
const lasts = (pause: Effect.Effect<void>, millis: number) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(pause)
    yield* TestClock.adjust(millis - 1)
    const early = fiber.unsafePoll() !== null
    yield* TestClock.adjust(1)
    const ended = fiber.unsafePoll() !== null
    yield* Fiber.interrupt(fiber)
    return ended && !early
  })

it.effect("pauses double from 2 ms to 1 s, and start again when something was found", () =>
  Effect.gen(function*() {
    const idle = yield* Idle.make()
    for (const millis of [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000, 1000]) {
      expect([millis, yield* lasts(idle.pause, millis)]).toEqual([millis, true])
    }
    yield* idle.busy
    expect(yield* lasts(idle.pause, 2)).toBe(true)
  }))

it.effect("a hint ends the pause; one that came before makes the next return at once", () =>
  Effect.gen(function*() {
    const idle = yield* Idle.make()
    const fiber = yield* Effect.fork(idle.pause)
    yield* Effect.yieldNow()
    expect(fiber.unsafePoll()).toBeNull()
    idle.hint()
    yield* Fiber.join(fiber)
    idle.hint()
    idle.hint()
    yield* idle.pause
    // and one hint is good for one pause: this one lasts
    expect(yield* lasts(idle.pause, 8)).toBe(true)
  }))
