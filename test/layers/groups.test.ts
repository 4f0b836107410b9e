/** What a group asks the database for, counted at the store. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { expect, it } from "vitest"
import { EventType, Generator } from "../../src/index.js"
import * as GeneratorOn from "../../src/layers/Generator.js"
import * as Poller from "../../src/layers/Poller.js"
import * as Pusher from "../../src/layers/Pusher.js"
import * as Reader from "../../src/layers/reader.js"
import * as Store from "../../src/layers/sql/store.js"
import type { Service as EventStore } from "../../src/services/EventStore.js"
import * as Shutdown from "../../src/streams/Shutdown.js"
import { onEach } from "../support/stream.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

onEach("A group at the store", ({ prefix, run }) => {
  it("64 partitions of which one has events: one read of the log, and one statement a look for the cursors of the others", async () => {
    await run(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const real = yield* Store.make({ sql, reader: undefined, prefix: prefix(), schema: undefined, migrate: "auto" })
      const calls = { page: 0, step: 0, group: 0, moved: 0, look: 0 }
      const store: EventStore = {
        ...real,
        page: (options) => Effect.suspend(() => (calls.page++, real.page(options))),
        look: (options) => Effect.suspend(() => (calls.look++, real.look(options))),
        step: (step) => Effect.suspend(() => (calls.step++, real.step(step))),
        group: (request) =>
          Effect.suspend(() => {
            calls.group++
            if (request.passed.length > 0) calls.moved++
            return real.group(request)
          })
      }
      const reader = Reader.make(store, { maxDataBytes: 65_000 })
      const poller = Poller.make(store, reader)
      const generator = yield* GeneratorOn.make(store, { maxDataBytes: 65_000 })
      const { service: pusher } = yield* Pusher.make(store, reader, poller, {
        idle: undefined,
        ttl: Duration.seconds(15),
        shutdown: yield* Shutdown.make,
        looks: undefined
      })
      let handled = 0
      const fiber = yield* Effect.fork(
        pusher.run("C", () => Effect.sync(() => handled++), { want: [Keyed], register: {}, partitions: 64 })
      )
      const cursors = Effect.map(store.consumers, ([info]) => info?.partitions.map(({ cursor }) => cursor) ?? [])
      const owned = Effect.map(
        store.consumers,
        ([info]) => info?.partitions.filter(({ lease }) => lease !== undefined).length === 64
      )
      while (!(yield* owned)) yield* Effect.sleep(50)
      // also before its first renewal: killed then, it would have it for ever
      const { members } = (yield* store.group({ ident: "local:C", epoch: undefined, passed: [] }))!
      expect(members.length).toBe(1)
      expect(members[0]!.expiresIn).toBeGreaterThan(0)
      expect(members[0]!.expiresIn).toBeLessThanOrEqual(15_000)
      yield* Effect.sleep(500)
      Object.assign(calls, { page: 0, step: 0, group: 0, moved: 0, look: 0 })
      const batches = 30
      for (let i = 0; i < batches; i++) {
        yield* generator.addAll(Array.from({ length: 10 }, (_, n) => Generator.event(Keyed, { key: "k", n })))
        yield* Effect.sleep(50)
      }
      while ((yield* cursors).some((cursor) => cursor < 300n)) yield* Effect.sleep(50)
      expect(handled).toBe(300)
      // the tail reads for all; an idle one asks for pages that are empty, too
      expect(calls.page).toBeLessThan(20 * batches)
      expect(calls.look).toBeLessThan(10)
      expect(calls.step).toBeLessThanOrEqual(batches + 5)
      expect(calls.moved).toBeLessThanOrEqual(calls.group)
      expect(calls.moved).toBeGreaterThan(0)
      const { group, moved } = calls
      yield* Effect.sleep(2500)
      // at rest it looks once a second, and has nothing to say
      expect(calls.group - group).toBeLessThanOrEqual(4)
      expect(calls.moved - moved).toBeLessThanOrEqual(1)
      yield* Fiber.interrupt(fiber)
    }) as Effect.Effect<void, any, any>)
  })

  it("who was taken over cannot move the cursor, keep or settle a dead letter, or pause; and what was changed fences both", async () => {
    await run(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const store = yield* Store.make({ sql, reader: undefined, prefix: prefix(), schema: undefined, migrate: "auto" })
      const generator = yield* GeneratorOn.make(store, { maxDataBytes: 65_000 })
      yield* store.register({ ident: "local:C", from: "beginning", exclusive: false })
      yield* generator.addAll(Array.from({ length: 9 }, (_, n) => Generator.event(Keyed, { key: "k", n })))
      if (store.sequenced) yield* store.sequence(100)
      expect(yield* store.layOut({ ident: "local:C", partitions: 2, actor: "x", epoch: undefined })).toMatchObject({
        _tag: "LaidOut"
      })
      const ident = "local:C#1"
      const claim = (owner: string, force: boolean) =>
        Effect.map(store.claim({ ident, owner, ttl: 10_000, force }), (claim) => {
          if (claim._tag !== "Claimed") throw new Error(claim._tag)
          return claim.epoch
        })
      const a = yield* claim("a", false)
      expect(yield* store.claim({ ident, owner: "b", ttl: 10_000, force: false })).toMatchObject({ _tag: "Busy" })
      // another partition is another lease, the consumer as a whole none
      expect(yield* store.claim({ ident: "local:C#0", owner: "b", ttl: 10_000, force: false }))
        .toMatchObject({ _tag: "Claimed" })
      expect(yield* store.claim({ ident: "local:C", owner: "b", ttl: 10_000, force: true }))
        .toEqual({ _tag: "Partitioned", partitions: 2 })
      expect(yield* store.claim({ ident: "local:C#2", owner: "b", ttl: 10_000, force: true }))
        .toEqual({ _tag: "NotRegistered" })
      const [row] = yield* store.page({ after: 0n, upTo: undefined, types: undefined, limit: 1 })
      const letter = { row: row!, error: "x", attempts: 1, parked: true }
      const place = Effect.map(store.group({ ident: "local:C", epoch: undefined, passed: [] }), (view) => ({
        cursors: view!.partitions.map(({ cursor }) => cursor),
        paused: view!.paused
      }))
      const tries = (epoch: bigint, upTo: bigint) =>
        Effect.all([
          store.step({ ident, epoch, upTo, deadLetters: [] }),
          store.step({ ident, epoch, upTo, deadLetters: [letter] }),
          store.transaction(store.stepWithin({ ident, epoch, upTo, deadLetters: [] }), { isolation: undefined }),
          store.settle({ ident, epoch, id: 1n, key: "k", failed: undefined })
        ])
      expect(yield* store.step({ ident, epoch: a, upTo: 2n, deadLetters: [letter] })).toBe("done")
      const b = yield* claim("b", true)
      expect(yield* tries(a, 5n)).toEqual(["fenced", "fenced", "fenced", "fenced"])
      expect(yield* store.pause({ ident, epoch: a, why: "x", actor: "pusher" })).toBe("fenced")
      yield* store.group({ ident: "local:C", epoch: undefined, passed: [{ partition: 1, epoch: a, upTo: 5n }] })
      expect(yield* place).toEqual({ cursors: [0n, 2n], paused: false })
      expect((yield* store.parkedKeys("local:C")).get("k")).toBe(1)
      // the one who has it can do all that
      expect(yield* tries(b, 5n)).toEqual(["done", "done", "done", "done"])
      // what is done to the consumer is done to its partitions
      const changes: ReadonlyArray<Effect.Effect<unknown, any>> = [
        store.reset({ ident: "local:C", to: "beginning", actor: "x", detail: "{}" }),
        store.redrive({ ident: "local:C", of: "all" }, "x"),
        store.drop({ ident: "local:C", of: "all" }, "x"),
        store.layOut({ ident: "local:C", partitions: 2, actor: "x", epoch: undefined }),
        Effect.zipRight(
          store.pause({ ident: "local:C", why: "x", actor: "x", epoch: undefined }),
          store.resume("local:C", "x")
        ),
        Effect.zipRight(
          store.layOut({ ident: "local:C", partitions: 0, actor: "x", epoch: undefined }),
          store.layOut({ ident: "local:C", partitions: 2, actor: "x", epoch: undefined })
        )
      ]
      let latest = b
      for (const [i, change] of changes.entries()) {
        const epoch = yield* claim(`c${i}`, true)
        // also of a new layout: no epoch ever comes again
        expect(epoch).toBeGreaterThan(latest)
        latest = epoch
        yield* change
        expect(yield* tries(epoch, 9n), `after change ${i}`).toEqual(["fenced", "fenced", "fenced", "fenced"])
        expect((yield* place).cursors).toEqual([0n, 0n])
      }
      // the consumer's own cursor is moved up to the smallest, and by nobody who knows it as it was before
      const last = yield* claim("d", true)
      expect(last).toBeGreaterThan(latest)
      yield* store.step({ ident, epoch: last, upTo: 7n, deadLetters: [] })
      const zero = yield* store.claim({ ident: "local:C#0", owner: "d", ttl: 10_000, force: true })
      if (zero._tag === "Claimed") {
        yield* store.step({ ident: "local:C#0", epoch: zero.epoch, upTo: 4n, deadLetters: [] })
      }
      const seen = (yield* store.group({ ident: "local:C", epoch: undefined, passed: [] }))!
      const move = (epoch: bigint) => store.group({ ident: "local:C", epoch, passed: [] })
      expect((yield* move(seen.epoch - 1n))!.cursor).toBe(0n)
      expect((yield* move(seen.epoch))!.cursor).toBe(4n)
      // a poll of somebody who knows nothing of partitions moves nothing
      yield* store.acknowledge("local:C", 9n)
      expect((yield* move(seen.epoch))!.cursor).toBe(4n)
      expect(yield* store.remove({ ident: "local:C", actor: "x", deadLetters: "drop" })).toBe(true)
      expect(yield* tries(last, 9n)).toEqual(["unregistered", "unregistered", "unregistered", "unregistered"])
    }) as Effect.Effect<void, any, any>)
  })
})
