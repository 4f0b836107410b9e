import { expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Leases from "../../src/streams/Leases.js"

const ttl = 15_000
const key = (owner: string) => ({ ident: "local:C", owner })

/** A lease table in memory on the test clock, whose renewals can fail or hang. */
const fake = Effect.gen(function*() {
  let lease: { owner: string; expires: number } | undefined
  const calls = { renew: 0, release: 0 }
  const mode: { renew: "ok" | "fail" | "hang" } = { renew: "ok" }
  const now = Effect.map(Effect.clock, (clock) => clock.unsafeCurrentTimeMillis())
  const leases = yield* Leases.make<{}, "down">({
    ttl: Duration.millis(ttl),
    claim: ({ force, owner, ttl }) =>
      Effect.map(now, (now): Leases.Answer<{}> => {
        if (lease !== undefined && lease.owner !== owner && lease.expires > now && !force) {
          return { _tag: "Busy", owner: lease.owner, expiresIn: lease.expires - now }
        }
        lease = { owner, expires: now + ttl }
        return { _tag: "Claimed" }
      }),
    renew: (asked, ttl) =>
      Effect.flatMap(now, (now) => {
        calls.renew++
        if (mode.renew === "fail") return Effect.fail("down" as const)
        if (mode.renew === "hang") return Effect.never
        const kept = asked.filter(({ owner }) => owner === lease?.owner)
        if (kept.length > 0) lease!.expires = now + ttl
        return Effect.succeed(kept)
      }),
    release: () =>
      Effect.sync(() => {
        calls.release++
        lease = undefined
      })
  })
  return { leases, calls, mode, steal: (owner: string) => (lease = { owner, expires: Infinity }), lease: () => lease }
})

const isLost = (held: Leases.Held<{}>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(held.lost)
    yield* TestClock.adjust(0)
    const said = fiber.unsafePoll() !== null
    yield* Fiber.interrupt(fiber)
    expect(said).toBe(held.isLost())
    return said
  })

it.scoped("a lease is renewed a third of its time apart, and given back when the scope closes", () =>
  Effect.gen(function*() {
    const { calls, lease, leases } = yield* fake
    const scope = yield* Scope.make()
    const held = yield* Scope.extend(leases.hold(key("a"), "wait"), scope)
    yield* TestClock.adjust("1 minute")
    expect(yield* isLost(held)).toBe(false)
    expect(calls.renew).toBeGreaterThanOrEqual(11)
    expect(calls.renew).toBeLessThanOrEqual(13)
    yield* Scope.close(scope, Exit.void)
    expect(calls.release).toBe(1)
    expect(lease()).toBeUndefined()
  }))

for (const trouble of ["fail", "hang"] as const) {
  it.scoped(`the owner stops believing in it after two thirds of its time when renewals ${trouble}`, () =>
    Effect.gen(function*() {
      const { leases, mode } = yield* fake
      const held = yield* leases.hold(key("a"), "wait")
      mode.renew = trouble
      yield* TestClock.adjust(ttl * 2 / 3 - 100)
      expect(yield* isLost(held)).toBe(false)
      // one retry of the renewal later at most, and still before anybody else can have it
      yield* TestClock.adjust(ttl / 30 + 100)
      expect(yield* isLost(held)).toBe(true)
    }))
}

it.scoped("a renewal that fails for a while loses nothing", () =>
  Effect.gen(function*() {
    const { leases, mode } = yield* fake
    const held = yield* leases.hold(key("a"), "wait")
    for (let i = 0; i < 5; i++) {
      mode.renew = "fail"
      yield* TestClock.adjust(ttl / 2)
      mode.renew = "ok"
      yield* TestClock.adjust(ttl / 10)
      expect(yield* isLost(held)).toBe(false)
    }
  }))

it.scoped("who is taken over learns it at the next renewal", () =>
  Effect.gen(function*() {
    const { leases, steal } = yield* fake
    const held = yield* leases.hold(key("a"), "wait")
    steal("b")
    yield* TestClock.adjust(ttl / 3 + 10)
    expect(yield* isLost(held)).toBe(true)
  }))

it.scoped("while another has it: fail says who, takeOver takes it, wait gets it when it runs out", () =>
  Effect.gen(function*() {
    const { leases, mode } = yield* fake
    yield* leases.hold(key("a"), "fail")
    expect(yield* Effect.flip(leases.hold(key("b"), "fail"))).toEqual({ _tag: "Busy", owner: "a", expiresIn: ttl })
    yield* leases.hold(key("c"), "takeOver")
    mode.renew = "hang"
    const waiting = yield* Effect.fork(leases.hold(key("d"), "wait"))
    yield* TestClock.adjust(ttl - 2000)
    expect(waiting.unsafePoll()).toBeNull()
    yield* TestClock.adjust(2500)
    expect(waiting.unsafePoll()).not.toBeNull()
  }))

it.scoped("who waits can be interrupted and leaves nothing behind", () =>
  Effect.gen(function*() {
    const { lease, leases } = yield* fake
    yield* leases.hold(key("a"), "wait")
    const waiting = yield* Effect.fork(leases.hold(key("b"), "wait"))
    yield* TestClock.adjust(1500)
    yield* Fiber.interrupt(waiting)
    expect(lease()!.owner).toBe("a")
  }))

it.scoped("an owner that comes back has its lease anew; what its older self held is lost, and gives nothing back", () =>
  Effect.gen(function*() {
    const { calls, lease, leases } = yield* fake
    const [older, newer] = [yield* Scope.make(), yield* Scope.make()]
    const first = yield* Scope.extend(leases.hold(key("a"), "fail"), older)
    const second = yield* Scope.extend(leases.hold(key("a"), "fail"), newer)
    expect(yield* isLost(first)).toBe(true)
    expect(yield* isLost(second)).toBe(false)
    yield* Scope.close(older, Exit.void)
    expect(calls.release).toBe(0)
    expect(lease()?.owner).toBe("a")
    yield* TestClock.adjust(ttl / 2)
    expect(yield* isLost(second)).toBe(false)
    yield* Scope.close(newer, Exit.void)
    expect(calls.release).toBe(1)
  }))

it.scoped("a lease that is kept for an owner who comes back is not given back, but runs out", () =>
  Effect.gen(function*() {
    const { calls, lease, leases } = yield* fake
    const scope = yield* Scope.make()
    const held = yield* Scope.extend(leases.hold(key("a"), "fail"), scope)
    held.keep()
    yield* Scope.close(scope, Exit.void)
    expect(calls.release).toBe(0)
    expect(lease()?.owner).toBe("a")
    expect(yield* Effect.flip(Effect.scoped(leases.hold(key("b"), "fail")))).toMatchObject({ _tag: "Busy" })
    yield* TestClock.adjust(ttl)
    yield* Effect.scoped(leases.hold(key("b"), "fail"))
  }))
