import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Idle from "../../src/streams/Idle.js"
import * as Tail from "../../src/streams/Tail.js"

const pageSize = 10

/** A log in memory; says what was read of it. */
const fake = (options: { readonly maxRows?: number } = {}) =>
  Effect.gen(function*() {
    const log: Array<{ readonly id: bigint }> = []
    const reads: Array<bigint> = []
    const trouble: { error: "down" | undefined } = { error: undefined }
    const idle = yield* Idle.make()
    const page = (after: bigint) => log.filter(({ id }) => id > after).slice(0, pageSize)
    const tail = yield* Tail.make<{ readonly id: bigint }, "down">({
      read: (after) =>
        Effect.suspend(() => {
          reads.push(after)
          return trouble.error === undefined ? Effect.succeed(page(after)) : Effect.fail(trouble.error)
        }),
      idle,
      size: () => 1,
      maxRows: options.maxRows ?? 1000,
      maxSize: Infinity
    })
    const write = (n: number) => {
      for (let i = 0; i < n; i++) log.push({ id: BigInt(log.length + 1) })
      idle.hint()
    }
    /** Reads on as a subscriber does, until it has the id. */
    const follow = (member: Tail.Member<{ readonly id: bigint }, "down">, from: bigint, to: bigint) =>
      Effect.gen(function*() {
        const got: Array<bigint> = []
        let own = 0
        let position = from
        while (position < to) {
          let rows = yield* member.next(position, pageSize)
          if (rows === undefined) {
            own++
            rows = page(position)
          }
          got.push(...rows.map(({ id }) => id))
          position = rows[rows.length - 1]!.id
        }
        return { got, own }
      })
    return { tail, write, follow, reads, trouble }
  })

const upTo = (n: number) => Array.from({ length: n }, (_, i) => BigInt(i + 1))

it.scopedLive("ten who start together cost as many reads as one", () =>
  Effect.gen(function*() {
    const { follow, reads, tail, write } = yield* fake()
    write(500)
    const members = yield* Effect.all(Array.from({ length: 10 }, () => tail.join))
    const results = yield* Effect.all(members.map((member) => follow(member, 0n, 500n)), { concurrency: "unbounded" })
    for (const { got, own } of results) expect([got, own]).toEqual([upTo(500), 0])
    expect(reads.length).toBeLessThanOrEqual(52)
  }))

it.scopedLive("who is slow falls behind what is kept, reads by itself, and meets the others again", () =>
  Effect.gen(function*() {
    const { follow, tail, write } = yield* fake({ maxRows: 50 })
    write(30)
    const fast = yield* tail.join
    const slow = yield* tail.join
    expect((yield* follow(slow, 0n, 10n)).got).toEqual(upTo(10))
    yield* follow(fast, 0n, 30n)
    write(300)
    yield* follow(fast, 30n, 330n)
    expect(tail.kept().rows).toBeLessThanOrEqual(60)
    const waiting = yield* Effect.fork(follow(fast, 330n, 335n))
    yield* Effect.yieldNow()
    const { got, own } = yield* follow(slow, 10n, 330n)
    expect(got).toEqual(upTo(330).slice(10))
    expect(own).toBeGreaterThan(20)
    expect(own).toBeLessThan(32)
    // and the fast one has lost nothing by it
    write(5)
    expect(yield* Fiber.join(waiting)).toEqual({ got: upTo(335).slice(330), own: 0 })
  }))

it.scopedLive("who stands still does not keep the tail from those who are further back", () =>
  Effect.gen(function*() {
    const { follow, reads, tail, write } = yield* fake({ maxRows: 50 })
    write(500)
    const stopped = yield* tail.join
    yield* follow(stopped, 0n, 200n)
    yield* Effect.sleep(100)
    const before = reads.length
    const others = yield* Effect.all(Array.from({ length: 10 }, () => tail.join))
    const results = yield* Effect.all(others.map((member) => follow(member, 0n, 500n)), { concurrency: "unbounded" })
    for (const { got, own } of results) expect([got, own]).toEqual([upTo(500), 0])
    expect(reads.length - before).toBeLessThanOrEqual(52)
    expect((yield* follow(stopped, 200n, 500n)).got).toEqual(upTo(500).slice(200))
  }))

it.scopedLive("of a hundred one stands still: the others get everything from the tail, and no more is kept for it", () =>
  Effect.gen(function*() {
    const maxRows = 50
    const { follow, reads, tail, write } = yield* fake({ maxRows })
    write(20)
    const stopped = yield* tail.join
    yield* follow(stopped, 0n, 10n)
    const others = yield* Effect.all(Array.from({ length: 99 }, () => tail.join))
    let most = 0
    let now = 0n
    for (let to = 20n; to <= 1000n; to += 20n) {
      const results = yield* Effect.all(others.map((member) => follow(member, now, to)), { concurrency: "unbounded" })
      for (const { got, own } of results) expect([got, own]).toEqual([upTo(Number(to)).slice(Number(now)), 0])
      most = Math.max(most, tail.kept().rows)
      now = to
      write(20)
    }
    expect(most).toBeLessThanOrEqual(maxRows)
    // a page for all of them at a time, and what was asked when nothing was there yet
    expect(new Set(reads).size).toBeLessThanOrEqual(105)
    const { got } = yield* follow(stopped, 10n, 1000n)
    expect(got).toEqual(upTo(1000).slice(10))
  }))

it.scopedLive("who comes from a page of its own and is a little ahead waits for the tail, and nobody loses it", () =>
  Effect.gen(function*() {
    const { follow, tail, write } = yield* fake()
    write(10)
    const steady = yield* tail.join
    const ahead = yield* tail.join
    yield* follow(steady, 0n, 10n)
    write(20)
    const waiting = yield* Effect.fork(follow(ahead, 25n, 40n))
    yield* Effect.sleep(20)
    expect(yield* follow(steady, 10n, 30n)).toEqual({ got: upTo(30).slice(10), own: 0 })
    write(10)
    expect((yield* Fiber.join(waiting)).got).toEqual(upTo(40).slice(25))
  }))

it.scopedLive("one who is alone never reads by itself, wherever it starts", () =>
  Effect.gen(function*() {
    const { follow, tail, write } = yield* fake({ maxRows: 20 })
    write(100)
    const first = yield* tail.join
    expect((yield* follow(first, 90n, 100n)).own).toBe(0)
    expect(yield* follow(first, 0n, 100n)).toEqual({ got: upTo(100), own: 0 })
  }))

it.scopedLive("nothing is read while nobody waits", () =>
  Effect.gen(function*() {
    const { follow, reads, tail, write } = yield* fake()
    yield* Effect.sleep(50)
    expect(reads.length).toBe(0)
    write(10)
    const member = yield* tail.join
    yield* follow(member, 0n, 10n)
    const before = reads.length
    write(10)
    yield* Effect.sleep(50)
    expect(reads.length - before).toBeLessThanOrEqual(1)
  }))

it.scopedLive("who waits is told of a failure, and can ask again", () =>
  Effect.gen(function*() {
    const { follow, tail, trouble, write } = yield* fake()
    const member = yield* tail.join
    trouble.error = "down"
    const waiting = yield* Effect.fork(member.next(0n, 10))
    expect(yield* Effect.flip(Fiber.join(waiting))).toBe("down")
    trouble.error = undefined
    write(3)
    expect((yield* follow(member, 0n, 3n)).got).toEqual(upTo(3))
  }))
