/** A discarder among consumers that come, read at their own speed and go: nobody misses an event (invariants 6, 7, 8). */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { Generator } from "../../src/index.js"
import type { Poller } from "../../src/index.js"
import { spawnTs } from "../support/child.js"
import { Gone, onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"

const discarding = fileURLToPath(new URL("./discarding.ts", import.meta.url))
const now = { retain: { for: 0 } } as const

/** Registers, reads some batches at some speed, checks that no id is missing from its start on, and leaves. */
const visitor = (poller: Poller.Service, name: string, batches: number) =>
  Effect.gen(function*() {
    const speed = yield* Random.nextIntBetween(0, 8)
    let last: bigint = (yield* poller.register(name)) ?? 0n
    const gaps: Array<string> = []
    let read = 0
    for (let n = 0; n < batches; n++) {
      const limit = yield* Random.nextIntBetween(1, 200)
      const { events } = yield* poller.poll(name, last === 0n ? { limit } : { limit, lastId: last })
      for (const { id } of events) {
        // ids have no gaps as long as nobody restores or uses dedupe keys
        if (id !== last + 1n) gaps.push(`${name}: ${id} after ${last}`)
        last = id
        read++
      }
      if (speed > 0) yield* Effect.sleep(speed)
    }
    yield* poller.unregister(name)
    return { gaps, read }
  })

onEach("Discarder beside consumers", ({ backend, db, prefix, run }) => {
  it("consumers that come and go see every id from their start on; the ids are never reused", async () => {
    const total = rounds(3000, 100_000)
    await run(
      Effect.gen(function*() {
        const { discarder, generator, poller } = yield* services
        let written = 0
        const writing = Effect.gen(function*() {
          while (written < total) {
            const some = Array.from(
              { length: yield* Random.nextIntBetween(1, 100) },
              (_, id) => Generator.event(Gone, { id })
            )
            written += some.length
            yield* generator.transaction(generator.emitAll(some))
            yield* Effect.sleep(2)
          }
        })
        const done = { value: false }
        let deleted = 0
        const discarders = yield* Effect.fork(Effect.all(
          [1, 2].map(() =>
            Effect.gen(function*() {
              while (!done.value) {
                deleted +=
                  (yield* discarder.once({ ...now, limitAtOnce: yield* Random.nextIntBetween(1, 300) })).deleted
                yield* Effect.sleep(1)
              }
            })
          ),
          { concurrency: 2 }
        ))
        // one that stays and reads everything
        const staying = yield* Effect.fork(Effect.gen(function*() {
          yield* poller.register("STAYS")
          let last = 0n
          while (last < BigInt(total)) {
            const { events } = yield* poller.poll("STAYS", last === 0n ? {} : { lastId: last })
            for (const { id } of events) {
              expect(id).toBe(last + 1n)
              last = id
            }
            yield* Effect.sleep(1)
          }
          return last
        }))
        yield* Effect.sleep(20)
        const writer = yield* Effect.fork(writing)
        let names = 0
        const guests = yield* Effect.all(
          Array.from({ length: 3 }, () =>
            Effect.gen(function*() {
              const seen: Array<{ gaps: ReadonlyArray<string>; read: number }> = []
              while (written < total) {
                seen.push(yield* visitor(poller, `V${++names}`, yield* Random.nextIntBetween(1, 15)))
              }
              return seen
            })),
          { concurrency: "unbounded" }
        )
        yield* Fiber.join(writer)
        const last = yield* Fiber.join(staying)
        expect(Number(last)).toBe(written)
        done.value = true
        yield* Fiber.join(discarders)
        const visits = guests.flat()
        console.log(`${backend}: ${written} events, ${deleted} discarded, ${visits.length} visits`)
        expect(visits.flatMap(({ gaps }) => gaps)).toEqual([])
        expect(deleted).toBeGreaterThan(0)
        expect(visits.reduce((sum, { read }) => sum + read, 0)).toBeGreaterThan(100)
      }),
      { prefix: prefix() }
    )
  })

  it("registering meets a batch that is being deleted: it starts after it, or keeps it", async () => {
    await run(
      Effect.gen(function*() {
        const { discarder, generator, poller } = yield* services
        for (let round = 0; round < rounds(15, 150); round++) {
          yield* poller.unregister("ONLY").pipe(Effect.ignore)
          yield* generator.addAll(Array.from({ length: 40 }, (_, id) => Generator.event(Gone, { id })))
          const [start] = yield* Effect.all([
            Effect.zipRight(Effect.sleep(yield* Random.nextIntBetween(0, 6)), poller.register("ONLY")),
            discarder.once({ ...now, limitAtOnce: 10 }),
            discarder.once({ ...now, limitAtOnce: 10 })
          ], { concurrency: 3 })
          const { events } = yield* poller.poll("ONLY")
          const first = start ?? 0n
          expect(events.map((event) => event.id)).toEqual(events.map((_, i) => first + BigInt(i + 1)))
          // a poll gives 1000 at most
          expect(events.length).toBe(Math.min(1000, (round + 1) * 40 - Number(first)))
        }
      }),
      { prefix: prefix() }
    )
  })

  it("the discarding process is killed at any moment: nothing unread is gone, what it said it deleted is", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const { generator, poller } = yield* services
        yield* poller.register("C")
        let last = 0n
        let said = 0
        for (let round = 0; round < rounds(4, 40); round++) {
          yield* generator.addAll(Array.from({ length: 500 }, (_, id) => Generator.event(Gone, { id })))
          const child = spawnTs(discarding, [db().url, p])
          yield* Effect.promise(() => child.message((message) => message === "ready"))
          const reading = yield* Effect.fork(Effect.gen(function*() {
            for (let n = 0; n < 40; n++) {
              const { events } = yield* poller.poll("C", last === 0n ? { limit: 10 } : { limit: 10, lastId: last })
              for (const { id } of events) {
                expect(id).toBe(last + 1n)
                last = id
              }
              yield* Effect.sleep(2)
            }
          }))
          // at work, and then at any moment
          yield* Effect.promise(() => child.message(({ deleted }) => deleted > 0))
          yield* Effect.sleep(yield* Random.nextIntBetween(0, 40))
          child.kill("SIGKILL")
          yield* Effect.promise(() => child.exited)
          yield* Fiber.join(reading)
          said += child.messages.reduce((sum, { deleted = 0 }) => sum + deleted, 0)
          const [{ discarded_to: to }] = yield* Effect.promise(() =>
            db().query(`SELECT discarded_to FROM ${p}retention`)
          )
          const [{ first, n }] = yield* Effect.promise(() =>
            db().query(`SELECT MIN(id) AS first, COUNT(*) AS n FROM ${p}log`)
          )
          // what is recorded is what is gone
          expect(Number(first)).toBe(Number(to) + 1)
          expect(Number(to) + Number(n)).toBe((round + 1) * 500)
          expect(Number(to)).toBeLessThanOrEqual(Number(last))
          expect(said).toBeLessThanOrEqual(Number(to))
        }
        expect(said).toBeGreaterThan(0)
      }),
      { prefix: p }
    )
  })

  it("two discarders under full write load: no error reaches anybody", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, discarder, generator, poller, pusher } = yield* services
        const [status] = backend === "mysql"
          ? yield* Effect.promise(() => db().query("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"))
          : []
        const before = Number(status?.Value ?? 0)
        const pushed = yield* Effect.fork(
          pusher.run("PUSHED", { batch: () => Effect.void }, { register: {}, want: [Gone], retry: undefined })
        )
        const done = { value: false }
        const until = <E>(effect: Effect.Effect<unknown, E>) =>
          Effect.gen(function*() {
            while (!done.value) {
              yield* effect
              yield* Effect.sleep(5)
            }
          })
        let visits = 0
        let last = 0n
        yield* poller.register("POLLED")
        const others = yield* Effect.fork(Effect.all([
          until(discarder.once({ ...now, limitAtOnce: 50 })),
          until(discarder.once({ ...now, stale: { evictAfter: "1 hour" } })),
          until(Effect.suspend(() => visitor(poller, `G${++visits}`, 2))),
          until(Effect.zipRight(consumers.pause("POLLED"), consumers.resume("POLLED"))),
          until(Effect.suspend(() =>
            Effect.map(poller.poll("POLLED", last === 0n ? {} : { lastId: last }), (batch) => {
              last = batch.upTo ?? last
            })
          ))
        ], { concurrency: "unbounded" }))
        for (let n = 0; n < rounds(15, 150); n++) {
          yield* Effect.all([
            generator.transaction(generator.emitAll(
              Array.from({ length: 1000 }, (_, id) => Generator.event(Gone, { id }))
            )),
            generator.addAll(Array.from({ length: 20 }, (_, id) => Generator.event(Gone, { id }))),
            Effect.sleep(100)
          ], { concurrency: "unbounded" })
          const exit = others.unsafePoll()
          if (exit !== null) yield* exit
        }
        done.value = true
        yield* Fiber.join(others)
        yield* Fiber.interrupt(pushed)
        // the store tries again after a deadlock, so nobody would hear of one: the server is asked
        const deadlocks = yield* Effect.promise(async () => {
          if (backend === "sqlite") return 0
          // statistics come a little late
          await new Promise((resolve) => setTimeout(resolve, 1500))
          const [row] = await db().query(
            backend === "postgres"
              ? "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()"
              : "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'"
          )
          return Number(row.n ?? row.Value) - before
        })
        if (backend === "postgres") expect(deadlocks).toBe(0)
        // the counter of MariaDB is the server's, other tests may be at work on it
        else if (backend === "mysql") console.log(`deadlocks on the server meanwhile: ${deadlocks}`)
        const left = yield* discarder.once(now)
        expect(Number(left.discardedTo)).toBeGreaterThan(0)
      }),
      { prefix: prefix() }
    )
  })
})
