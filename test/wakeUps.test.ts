/** Commits of another process are seen without waiting for the next poll, which is a minute away here. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { database } from "../examples/main-job/database.js"
import { Delivery } from "../src/index.js"
import { backends } from "./support/backends.js"
import { Gone, onEach, services, type StreamServices } from "./support/stream.js"

const never = Schedule.spaced("1 minute")

onEach("Wake-ups between processes", ({ backend, db, prefix }) => {
  it("an event of another layer arrives at once, also after all connections were cut", async () => {
    const p = prefix()
    const open = (idle?: Schedule.Schedule<unknown, unknown>) =>
      ManagedRuntime.make(
        database(db().url, {
          prefix: p,
          migrate: "auto",
          ...(idle === undefined ? {} : { sequencer: { idle }, pusher: { idle } })
        }) as Layer.Layer<StreamServices, unknown>
      )
    // who writes is a layer of its own; nothing but a wake-up reaches the one that reads
    const writer = open()
    await writer.runPromise(Effect.void)
    const reader = open(never)
    try {
      const got = await reader.runPromise(Effect.gen(function*() {
        const { pusher } = yield* services
        const got = yield* Queue.unbounded<number>()
        yield* Effect.forkDaemon(
          pusher.subscribe("C", { want: [Gone], register: {} }).pipe(
            Delivery.handle(Effect.forEach((e) => e._tag === "Known" ? Queue.offer(got, e.data.id) : Effect.void)),
            Stream.runDrain
          )
        )
        return got
      }))
      const write = (id: number) =>
        writer.runPromise(
          Effect.flatMap(services, ({ generator }) => generator.transaction(generator.emit(Gone, { id })))
        )
      await new Promise((resolve) => setTimeout(resolve, 500))
      for (let id = 1; id <= 5; id++) {
        await write(id)
        expect(await Effect.runPromise(Effect.timeout(Queue.take(got), "10 seconds"))).toBe(id)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      await db().killConnections()
      await new Promise((resolve) => setTimeout(resolve, 1500))
      await writer.runPromise(
        Effect.flatMap(
          services,
          ({ generator }) => Effect.retry(generator.transaction(generator.emit(Gone, { id: 6 })), Schedule.recurs(10))
        )
      )
      expect(await Effect.runPromise(Effect.timeout(Queue.take(got), "10 seconds"))).toBe(6)
    } finally {
      await reader.dispose()
      await writer.dispose()
    }
  })

  it("a layer that ends right after a commit leaves no connection behind", async () => {
    const options = { prefix: prefix(), sequencer: "off" } as const
    const layer = (migrate: "auto" | "check") =>
      database(db().url, { ...options, migrate }) as Layer.Layer<StreamServices, unknown>
    await Effect.runPromise(Effect.provide(Effect.void, layer("auto")))
    // its connection for listening is just being made
    for (let id = 0; id < 10; id++) {
      await Effect.runPromise(
        Effect.flatMap(services, ({ generator }) => generator.add(Gone, { id })).pipe(Effect.provide(layer("check")))
      )
    }
    if (backend === "sqlite") return
    const left = () =>
      db().query(
        `SELECT query FROM pg_stat_activity WHERE datname = current_database() AND application_name <> 'evt-admin'`
      )
    for (let tries = 0; tries < 100 && (await left()).length > 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(await left()).toEqual([])
  })
}, { backends: backends.filter((backend) => backend !== "mysql") })
