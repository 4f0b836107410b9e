import * as SqlClient from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { Delivery, EventStream, Generator, Poller } from "../src/index.js"
import { createDatabase } from "./support/backends.js"
import { Gone, onEach } from "./support/stream.js"

const gone = (n: number, from = 1) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: from + i }))

onEach("EventStream", ({ backend, db, prefix }) => {
  /** A stream in a scope of its own, which the test closes. */
  const opened = <A, E>(
    options: EventStream.Options,
    f: (
      stream: EventStream.Service,
      close: Effect.Effect<void>
    ) => Effect.Effect<A, E, SqlClient.SqlClient | Scope.Scope>
  ) =>
    Effect.runPromise(
      Effect.scoped(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const stream = yield* Scope.extend(EventStream.make({ migrate: "auto", ...options }), scope)
        return yield* f(stream, Scope.close(scope, Exit.void))
      })).pipe(Effect.provide(db().client()))
    )

  it("archives and discards in the background where the options say so", async () => {
    const p = prefix()
    const history = await createDatabase(backend)
    try {
      await opened(
        {
          prefix: p,
          history: { client: history.client() },
          archiver: {},
          discarder: { schedule: undefined, retain: { for: "0 seconds" } }
        },
        ({ archiver, consumers, discarder, generator, history }) =>
          Effect.gen(function*() {
            yield* generator.addAll(gone(10))
            while ((yield* history!.last)?.id !== 10n) yield* Effect.sleep(20)
            while ((yield* consumers.list)[0]?.lag.events !== 0) yield* Effect.sleep(20)
            expect(yield* archiver!.verify).toBe(10)
            yield* discarder.once({ retain: { for: "0 seconds" } })
            expect((yield* Effect.promise(() => db().query(`SELECT id FROM ${p}log`))).length).toBe(0)
            expect((yield* Stream.runCollect(history!.query({ want: [Gone] }))).length).toBe(10)
            // erased there, too
            expect(yield* consumers.redact({ ids: [3] })).toEqual({ log: 0, deadLetters: 0, history: 1 })
          })
      )
    } finally {
      await history.drop()
    }
  })

  it("ids that are left out at the end are nothing to wait for", async () => {
    const history = await createDatabase(backend)
    try {
      await opened(
        { prefix: prefix(), history: { client: history.client() } },
        ({ archiver, consumers, generator, health }) =>
          Effect.gen(function*() {
            const twice = generator.add(Gone, { id: 1 }, { dedupeKey: "once" })
            expect([yield* twice, yield* twice]).toEqual([1n, 1n])
            yield* health.restored
            expect((yield* archiver!.once()).archived).toBe(1)
            expect((yield* consumers.list)[0]!.lag.events).toBe(0)
            // of the new generation
            expect(yield* generator.add(Gone, { id: 2 })).toBeGreaterThan(1_000_000n)
            expect((yield* archiver!.once()).archived).toBe(1)
            expect(yield* archiver!.verify).toBe(2)
          })
      )
    } finally {
      await history.drop()
    }
  })

  it("an archiver without a history is refused", async () => {
    await expect(opened({ prefix: prefix(), archiver: {} }, () => Effect.void)).rejects.toThrow(/history/)
  })

  it("options come from Config", async () => {
    const p = prefix()
    const layer = EventStream.layerConfig({
      prefix: Config.string("EVT_PREFIX"),
      migrate: Config.succeed("auto" as const)
    }).pipe(Layer.provide(db().client()))
    const provider = ConfigProvider.fromMap(new Map([["EVT_PREFIX", p]]))
    await Effect.runPromise(
      Effect.flatMap(Poller.Poller, (poller) => poller.register("C")).pipe(
        Effect.provide(layer),
        Effect.withConfigProvider(provider)
      )
    )
    expect((await db().query(`SELECT ident FROM ${p}consumers`)).length).toBe(1)
  })

  it("the end of the layer lets receivers finish the batch in hand, and begins no other", async () => {
    const p = prefix()
    await opened({ prefix: p }, ({ generator, poller, pusher }, close) =>
      Effect.gen(function*() {
        yield* poller.register("RUN")
        yield* poller.register("SUB")
        yield* poller.register("IDLE")
        yield* poller.poll("IDLE", { lastId: 1 }).pipe(Effect.ignore)
        yield* generator.addAll(gone(20))
        yield* poller.poll("IDLE", { lastId: 20 })
        const begun = yield* Effect.makeLatch(false)
        const go = yield* Effect.makeLatch(false)
        const handled: Record<string, Array<number>> = { RUN: [], SUB: [] }
        const handler = (name: string) => (events: ReadonlyArray<any>) =>
          Effect.gen(function*() {
            yield* begun.open
            yield* go.await
            handled[name]!.push(...events.map((event) => Number(event.id)))
          })
        const receivers: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          pusher.run("RUN", { batch: handler("RUN") }, { limit: 5 }),
          pusher.subscribe("SUB", { limit: 5 }).pipe(Delivery.handle(handler("SUB")), Stream.runDrain),
          pusher.run("IDLE", () => Effect.void)
        ]
        const fibers = yield* Effect.forEach(receivers, (receiver) => Effect.forkDaemon(receiver))
        yield* begun.await
        yield* Effect.sleep(300)
        const closing = yield* Effect.fork(close)
        yield* Effect.sleep(100)
        expect(closing.unsafePoll()).toBe(null)
        yield* go.open
        yield* Fiber.join(closing)
        for (const fiber of fibers) expect(Exit.isInterrupted(yield* Fiber.await(fiber))).toBe(true)
        expect(handled.RUN).toEqual([1, 2, 3, 4, 5])
        // what was on its way to the handler: two batches are read ahead at most
        expect([5, 10, 15]).toContain(handled.SUB!.length)
        const rows = yield* Effect.promise(() => db().query(`SELECT ident, last_evt_id FROM ${p}consumers`))
        const cursors = new Map(rows.map((row) => [row.ident, Number(row.last_evt_id)]))
        expect(cursors.get("local:RUN")).toBe(5)
        expect(cursors.get("local:SUB")).toBe(handled.SUB!.length)
        expect(yield* Effect.promise(() => db().query(`SELECT name FROM ${p}leases`))).toEqual([])
      }))
  })

  it("a handler that does not end is waited for as long as shutdownTimeout", async () => {
    await opened(
      { prefix: prefix(), shutdownTimeout: "100 millis" },
      ({ generator, pusher }, close) =>
        Effect.gen(function*() {
          yield* generator.addAll(gone(1))
          const begun = yield* Effect.makeLatch(false)
          yield* Effect.forkScoped(
            pusher.run("C", () => Effect.zipRight(begun.open, Effect.never), { register: {} })
          )
          yield* begun.await
          yield* close
        })
    )
  })
})
