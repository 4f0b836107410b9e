/** The loop of members, on the test clock and a lease table in memory. */
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import * as Group from "../../src/streams/Group.js"

const ttl = 15_000
const interval = 1000

interface Row {
  epoch: bigint
  owner: string | undefined
  expires: number
}

/** `batch`: how long a batch takes, in milliseconds. */
const world = (count: number, batch = 10) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const now = () => clock.unsafeCurrentTimeMillis()
    let rows = Array.from({ length: count }, (): Row => ({ epoch: 0n, owner: undefined, expires: 0 }))
    const members = new Map<string, number>()
    const log: Array<string> = []
    const state = { paused: false, looks: 0 }
    /** In a batch of a partition: never two at once. */
    const busy = new Set<number>()

    const member = (me: string) =>
      Effect.gen(function*() {
        const ending = yield* Deferred.make<void>()
        members.set(me, now() + ttl)
        let alive = true
        const renewing = yield* Effect.fork(Effect.forever(Effect.zipRight(
          Effect.sleep(ttl / 3),
          Effect.sync(() => {
            if (!alive) return
            if (members.has(me)) members.set(me, now() + ttl)
            for (const row of rows) if (row.owner === me) row.expires = now() + ttl
          })
        )))
        const work = (hand: Group.Hand): Effect.Effect<void, "broken"> =>
          Effect.gen(function*() {
            const row = rows[hand.partition]!
            if (row.owner !== undefined && row.owner !== me && row.expires > now()) return
            const epoch = ++row.epoch
            Object.assign(row, { owner: me, expires: now() + ttl })
            yield* hand.claimed(epoch)
            log.push(`${me}+${hand.partition}`)
            const isMine = () => rows[hand.partition] === row && row.epoch === epoch
            while (!hand.isLeaving() && alive) {
              if (!isMine()) break
              expect(busy.has(hand.partition)).toBe(false)
              busy.add(hand.partition)
              yield* Effect.ensuring(Effect.sleep(batch), Effect.sync(() => busy.delete(hand.partition)))
            }
            if (!alive) return yield* Effect.never
            log.push(`${me}-${hand.partition}`)
            if (isMine()) row.owner = undefined
          })
        const fiber = yield* Effect.fork(Group.run({
          me,
          interval,
          look: Effect.suspend(() => {
            if (!alive) return Effect.never
            state.looks++
            return Effect.succeed({
              members: [...members].map(([owner, expires]) => ({ owner, expiresIn: expires - now() }))
                .filter(({ expiresIn }) => expiresIn > 0),
              partitions: rows.map(({ epoch, expires, owner }) => ({
                epoch,
                lease: owner === undefined ? undefined : { owner, expiresIn: expires - now() }
              })),
              paused: state.paused
            })
          }),
          work,
          ending: Deferred.await(ending),
          resign: Effect.sync(() => void members.delete(me)),
          rebalanced: () => Effect.void
        }))
        return {
          fiber,
          end: Deferred.succeed(ending, undefined),
          /** Nothing of it is heard any more. */
          kill: Effect.zipRight(Effect.sync(() => alive = false), Fiber.interrupt(renewing))
        }
      })
    const owners = () =>
      rows.map(({ expires, owner }) => owner === undefined || expires <= now() ? "-" : owner).join("")
    const change = (next: number) => {
      const epoch = rows.reduce((most, row) => row.epoch > most ? row.epoch : most, 0n) + 1n
      rows = Array.from({ length: next }, () => ({ epoch, owner: undefined, expires: 0 }))
    }
    return { member, owners, log, state, change, rows: () => rows }
  })

it.scoped("who comes gets a share within one look of the others, who stays keeps what it has", () =>
  Effect.gen(function*() {
    const { member, owners } = yield* world(8, 1000)
    yield* member("a")
    yield* TestClock.adjust(50)
    expect(owners()).toBe("aaaaaaaa")
    yield* member("b")
    yield* TestClock.adjust(interval * 2 + 300)
    expect(owners()).toBe("aaaabbbb")
    yield* member("c")
    yield* TestClock.adjust(interval * 2 + 300)
    expect([...owners()].sort().join("")).toBe("aaabbbcc")
    // and nothing moves from then on
    const settled = owners()
    yield* TestClock.adjust("20 seconds")
    expect(owners()).toBe(settled)
  }))

it.scoped("a partition is handed over after the batch in hand, and never worked on by two", () =>
  Effect.gen(function*() {
    const { log, member, owners } = yield* world(2, 5000)
    yield* member("a")
    yield* TestClock.adjust(50)
    yield* member("b")
    yield* TestClock.adjust(4000)
    expect(owners()).toBe("aa")
    yield* TestClock.adjust(1300)
    expect(owners()).toBe("ab")
    expect(log).toEqual(["a+0", "a+1", "a-1", "b+1"])
  }))

it.scoped("what the dead had is taken when their leases run out, not before, and without delay", () =>
  Effect.gen(function*() {
    const { member, owners } = yield* world(4, 100)
    const a = yield* member("a")
    yield* member("b")
    yield* TestClock.adjust(interval * 2)
    expect([...owners()].sort().join("")).toBe("aabb")
    // just renewed
    yield* TestClock.adjust(ttl / 3 - interval * 2 + 1)
    yield* a.kill
    yield* TestClock.adjust(ttl - 100)
    expect([...owners()].sort().join("")).toBe("aabb")
    yield* TestClock.adjust(300)
    expect(owners()).toBe("bbbb")
  }))

it.scoped("one that ends gives back what it has after its batches, and the others take it", () =>
  Effect.gen(function*() {
    const { log, member, owners } = yield* world(4, 500)
    const a = yield* member("a")
    yield* TestClock.adjust(50)
    yield* member("b")
    yield* TestClock.adjust(interval * 3)
    log.length = 0
    yield* a.end
    yield* TestClock.adjust(interval * 2 + 500)
    expect(owners()).toBe("bbbb")
    expect(a.fiber.unsafePoll()).not.toBeNull()
    expect(log.filter((line) => line.startsWith("a-")).length).toBe(2)
    expect(log.filter((line) => line.startsWith("b-"))).toEqual([])
  }))

it.scoped("paused, everybody lets go; resumed, they take their shares again", () =>
  Effect.gen(function*() {
    const { member, owners, state } = yield* world(4, 50)
    yield* member("a")
    yield* member("b")
    yield* TestClock.adjust(interval * 2)
    state.paused = true
    yield* TestClock.adjust(interval + 100)
    expect(owners()).toBe("----")
    state.paused = false
    yield* TestClock.adjust(interval + 300)
    expect([...owners()].sort().join("")).toBe("aabb")
  }))

it.scoped("what somebody has changed is stopped, and begun again", () =>
  Effect.gen(function*() {
    const { change, log, member, owners, rows } = yield* world(2, 1_000_000)
    yield* member("a")
    yield* TestClock.adjust(50)
    rows()[1]!.epoch += 5n
    yield* TestClock.adjust(interval + 100)
    expect(log).toEqual(["a+0", "a+1", "a+1"])
    // another number of partitions
    change(3)
    yield* TestClock.adjust(interval + 100)
    expect(owners()).toBe("aaa")
    expect(log.slice(3).sort()).toEqual(["a+0", "a+1", "a+2"])
  }))

it.scoped("at rest it looks once in its interval, and while it waits for another's batch more often", () =>
  Effect.gen(function*() {
    const { member, state } = yield* world(4, 20_000)
    yield* member("a")
    yield* TestClock.adjust(100)
    state.looks = 0
    yield* TestClock.adjust("10 seconds")
    expect(state.looks).toBeLessThanOrEqual(11)
    expect(state.looks).toBeGreaterThanOrEqual(9)
    yield* member("b")
    state.looks = 0
    yield* TestClock.adjust("2 seconds")
    expect(state.looks).toBeGreaterThan(15)
    expect(state.looks).toBeLessThan(40)
  }))

it.scoped("the failure of one partition ends it, and what else is in hand is interrupted", () =>
  Effect.gen(function*() {
    let interrupted = 0
    const fiber = yield* Effect.fork(Group.run({
      me: "a",
      interval,
      look: Effect.succeed({
        members: [{ owner: "a", expiresIn: ttl }],
        partitions: [{ epoch: 0n, lease: undefined }, { epoch: 0n, lease: undefined }],
        paused: false
      }),
      work: ({ partition }) =>
        partition === 1
          ? Effect.delay(Effect.fail("broken" as const), 100)
          : Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)),
      ending: Effect.never,
      resign: Effect.void,
      rebalanced: () => Effect.void
    }))
    yield* TestClock.adjust(200)
    expect(yield* Effect.flip(Fiber.join(fiber))).toBe("broken")
    expect(interrupted).toBe(1)
  }))
