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

onEach("Wake-ups between processes", ({ db, prefix }) => {
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
}, { backends: backends.filter((backend) => backend !== "mysql") })
