import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as GroupCommit from "../../src/streams/GroupCommit.js"

/** Writes numbers; a batch with a negative one fails. `gate` holds the first batch until it is opened. */
const make = (batches: Array<ReadonlyArray<number>>, gate: Effect.Effect<void> = Effect.void) =>
  GroupCommit.make<number, string, string>({
    write: (items) =>
      Effect.suspend(() => {
        batches.push(items)
        const answer = items.some((n) => n < 0)
          ? Effect.fail("negative")
          : Effect.succeed(items.map((n) => `#${n}`))
        return batches.length === 1 ? Effect.zipRight(gate, answer) : answer
      }),
    size: () => 1,
    maxItems: 10,
    maxSize: 100,
    splittable: () => true,
    errorFor: (error, items) => `${error}: ${items.join()}`,
    closed: () => "closed"
  })

it.scoped("concurrent callers are written together, in order, and each gets its own answers", () =>
  Effect.gen(function*() {
    const batches: Array<ReadonlyArray<number>> = []
    const gate = yield* Deferred.make<void>()
    const write = yield* make(batches, Deferred.await(gate))
    const first = yield* Effect.fork(write([0]))
    yield* Effect.yieldNow()
    yield* Effect.yieldNow()
    const rest = yield* Effect.forEach([1, 2, 3, 4], (n) => Effect.fork(write([n, n + 10])))
    for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
    yield* Deferred.succeed(gate, undefined)
    expect(yield* Fiber.join(first)).toEqual(["#0"])
    expect(yield* Effect.all(rest.map(Fiber.join))).toEqual([1, 2, 3, 4].map((n) => [`#${n}`, `#${n + 10}`]))
    expect(batches).toEqual([[0], [1, 11, 2, 12, 3, 13, 4, 14]])
  }))

it.scoped("one caller's data fails that caller alone", () =>
  Effect.gen(function*() {
    const batches: Array<ReadonlyArray<number>> = []
    const write = yield* make(batches)
    const exits = yield* Effect.all([1, 2, -3, 4].map((n) => Effect.either(write([n]))), { concurrency: "unbounded" })
    expect(exits.map((exit) => exit._tag === "Right" ? exit.right[0] : exit.left)).toEqual([
      "#1",
      "#2",
      "negative: -3",
      "#4"
    ])
  }))

it.scoped("a batch has a bound, except for one caller who brings more", () =>
  Effect.gen(function*() {
    const batches: Array<ReadonlyArray<number>> = []
    const write = yield* make(batches)
    const many = Array.from({ length: 25 }, (_, i) => i)
    yield* Effect.all([...Array.from({ length: 15 }, (_, i) => write([i])), write(many)], { concurrency: "unbounded" })
    expect(Math.max(...batches.map((batch) => batch.length))).toBe(25)
    expect(batches.filter((batch) => batch.length > 10).length).toBe(1)
  }))

it.scoped("a caller that is interrupted before its batch is taken is withdrawn", () =>
  Effect.gen(function*() {
    const batches: Array<ReadonlyArray<number>> = []
    const gate = yield* Deferred.make<void>()
    const write = yield* make(batches, Deferred.await(gate))
    const first = yield* Effect.fork(write([0]))
    for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
    const second = yield* Effect.fork(write([1]))
    const third = yield* Effect.fork(write([2]))
    for (let i = 0; i < 5; i++) yield* Effect.yieldNow()
    yield* Fiber.interrupt(second)
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.join(first)
    yield* Fiber.join(third)
    expect(batches).toEqual([[0], [2]])
  }))

it.effect("closing writes what was accepted, and refuses the rest", () =>
  Effect.gen(function*() {
    const batches: Array<ReadonlyArray<number>> = []
    const scope = yield* Scope.make()
    const write = yield* Scope.extend(make(batches), scope)
    const fibers = yield* Effect.forEach([1, 2, 3], (n) => Effect.fork(write([n])))
    yield* Effect.yieldNow()
    yield* Scope.close(scope, Exit.void)
    expect(yield* Effect.all(fibers.map(Fiber.join))).toEqual([["#1"], ["#2"], ["#3"]])
    expect(yield* Effect.flip(write([4]))).toBe("closed")
  }))
