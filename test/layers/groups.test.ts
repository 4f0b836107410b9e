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
})
