/** The active receiver of a consumer is killed, stopped and cut off; what it had not acknowledged goes to the next one. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { Generator } from "../../src/index.js"
import { servers } from "../support/backends.js"
import { spawnTs } from "../support/child.js"
import { startProxy } from "../support/proxy.js"
import { Gone, onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"

const receiverFile = fileURLToPath(new URL("./receiver.ts", import.meta.url))
const leaseTtl = { pusher: { leaseTtl: "1 second" } } as const
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

onEach("A receiver", ({ backend, db, prefix, run }) => {
  const prepare = (p: string) =>
    run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { poller } = yield* services
        yield* poller.register("R")
        yield* sql.unsafe(`CREATE TABLE ${p}effects (id INTEGER NOT NULL)`)
      }),
      { prefix: p }
    )

  /** Emits until told to stop; how many. */
  const emitting = (p: string) => {
    let stopped = false
    let n = 0
    const done = run(
      Effect.gen(function*() {
        const { generator } = yield* services
        while (!stopped) {
          yield* generator.addAll(range(5).map((i) => Generator.event(Gone, { id: n + i })))
          n += 5
          yield* Effect.sleep(20)
        }
        return n
      }),
      { prefix: p }
    )
    return () => {
      stopped = true
      return done
    }
  }

  const drained = (p: string) =>
    run(
      Effect.retry(
        Effect.gen(function*() {
          const { poller } = yield* services
          if ((yield* poller.poll("R", { want: [Gone] })).events.length > 0) yield* Effect.fail("not yet" as const)
        }),
        Schedule.spaced("100 millis")
      ).pipe(Effect.timeout("60 seconds")),
      { prefix: p }
    )

  it("killed anywhere: nothing is lost, and only its last batch is repeated", async () => {
    const p = prefix()
    await prepare(p)
    const stop = emitting(p)
    const handled: Array<ReadonlyArray<number>> = []
    const collect = (messages: ReadonlyArray<any>) => {
      let batch = 0
      for (const message of messages) {
        if (message.handled === undefined) continue
        const seen = new Set(handled.flat())
        const again = message.handled.filter((id: number) => seen.has(id))
        if (batch++ > 0) expect(again).toEqual([])
        handled.push(message.handled)
      }
    }
    for (let round = 0; round < rounds(3, 50); round++) {
      const child = spawnTs(receiverFile, [db().url, p, "atLeastOnce"])
      await child.message((message) => message.handled !== undefined)
      await sleep(Math.random() * 400)
      child.kill("SIGKILL")
      await child.exited
      collect(child.messages)
    }
    const total = await stop()
    const last = spawnTs(receiverFile, [db().url, p, "atLeastOnce"])
    await drained(p)
    await sleep(200)
    last.kill("SIGKILL")
    await last.exited
    collect(last.messages)
    expect([...new Set(handled.flat())]).toEqual(range(total))
  })

  it("killed anywhere with exactlyOnce: every event takes effect once", async () => {
    const p = prefix()
    await prepare(p)
    const stop = emitting(p)
    for (let round = 0; round < rounds(3, 50); round++) {
      const child = spawnTs(receiverFile, [db().url, p, "exactlyOnce"])
      await child.message((message) => message === "ready")
      await sleep(300 + Math.random() * 1000)
      child.kill("SIGKILL")
      await child.exited
    }
    const total = await stop()
    const last = spawnTs(receiverFile, [db().url, p, "exactlyOnce"])
    await drained(p)
    last.kill("SIGKILL")
    await last.exited
    const rows = await db().query(`SELECT id FROM ${p}effects`)
    expect(rows.map((row) => Number(row.id)).sort((a, b) => a - b)).toEqual(range(total))
  })

  it("stopped past its lease and continued, it cannot move the cursor, and says so", async () => {
    const p = prefix()
    await prepare(p)
    const child = spawnTs(receiverFile, [db().url, p, "atLeastOnce"])
    try {
      await run(
        Effect.gen(function*() {
          const { generator, poller, pusher } = yield* services
          yield* generator.addAll(range(300).map((id) => Generator.event(Gone, { id })))
          // in its handler: stopped in a write, it would keep the one write lock of an SQLite file from everybody
          yield* Effect.promise(() => child.message((message) => message === "handling"))
          child.kill("SIGSTOP")
          const got: Array<number> = []
          const standby = yield* Effect.fork(
            pusher.run("R", (event) =>
              Effect.sync(() => {
                if (event._tag === "Known") got.push(event.data.id)
              }), { want: [Gone] })
          )
          // takes over within about one lease time, and finishes
          while (got[got.length - 1] !== 300) yield* Effect.sleep(50)
          while ((yield* poller.poll("R", { want: [Gone] })).events.length > 0) yield* Effect.sleep(20)
          yield* Fiber.interrupt(standby)
          yield* generator.addAll(range(10).map((id) => Generator.event(Gone, { id: 300 + id })))
          const before = child.messages.length
          child.kill("SIGCONT")
          yield* Effect.promise(() => child.message((message) => /lost.*Standing by/.test(message.log ?? "")))
          // what it goes on with is what the other has left
          yield* Effect.promise(() => child.message((message) => message.handled?.includes(310) === true))
          const after = child.messages.slice(before).flatMap((message) => message.handled ?? [])
          // the batch in hand when it was stopped may be finished, its acknowledgement is refused
          expect(after.filter((id) => id > 300)).toEqual(range(10).map((id) => 300 + id))
          expect(got).toEqual([...got].sort((a, b) => a - b))
        }),
        { prefix: p, ...leaseTtl }
      )
    } finally {
      child.kill("SIGKILL")
      await child.exited
    }
  })

  // SQLite has no connection to cut
  if (backend === "sqlite") return
  it("cut off every 100 ms it goes on by itself", async () => {
    const p = prefix()
    await prepare(p)
    const total = 400
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        yield* generator.addAll(range(total).map((id) => Generator.event(Gone, { id })))
      }),
      { prefix: p }
    )
    const got: Array<number> = []
    await run(
      Effect.gen(function*() {
        const { pusher } = yield* services
        const sql = yield* SqlClient.SqlClient
        let end = false
        const killer = yield* Effect.fork(
          Effect.forever(Effect.zipRight(Effect.sleep(100), Effect.promise(() => db().killConnections())))
        )
        const handle = (exactlyOnce: boolean) =>
          pusher.run("R", (event) =>
            Effect.gen(function*() {
              if (event._tag !== "Known") return
              if (exactlyOnce) yield* sql.unsafe(`INSERT INTO ${p}effects (id) VALUES (${event.data.id})`)
              else yield* Effect.sleep(5)
              got.push(event.data.id)
              if (event.data.id === total) end = true
            }), { want: [Gone], limit: 5, exactlyOnce })
        // at least once for the first half, then handler and cursor in one transaction
        const first = yield* Effect.fork(handle(false))
        while (!got.includes(total / 2)) yield* Effect.sleep(10)
        yield* Fiber.interrupt(first)
        const seen = new Set(got)
        const second = yield* Effect.fork(handle(true))
        while (!end) yield* Effect.sleep(10)
        yield* Fiber.interrupt(killer)
        yield* Effect.sleep(500)
        yield* Fiber.interrupt(second)
        const rows = yield* Effect.promise(() => db().query(`SELECT id FROM ${p}effects`))
        const effects = rows.map((row) => Number(row.id)).sort((a, b) => a - b)
        // each once, and together everything
        expect(new Set(effects).size).toBe(effects.length)
        expect([...new Set([...seen, ...effects])].sort((a, b) => a - b)).toEqual(range(total))
      }),
      { prefix: p, ...leaseTtl }
    )
  })

  it("when the server cannot be reached for longer than the lease lasts, it goes on by itself afterwards", async () => {
    const p = prefix()
    await prepare(p)
    const { hostname, port } = new URL(db().url)
    const proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
    const stop = emitting(p)
    try {
      const effects = await run(
        Effect.gen(function*() {
          const { pusher } = yield* services
          const sql = yield* SqlClient.SqlClient
          const fiber = yield* Effect.fork(pusher.run("R", (event) =>
            event._tag === "Known"
              ? sql.unsafe(`INSERT INTO ${p}effects (id) VALUES (${event.data.id})`)
              : Effect.void, { want: [Gone], exactlyOnce: true, limit: 10 }))
          for (let round = 0; round < 2; round++) {
            yield* Effect.sleep(1000)
            proxy.accept(false)
            proxy.cutAll()
            yield* Effect.sleep(rounds(2000, 5000))
            proxy.accept(true)
          }
          yield* Effect.sleep(1000)
          const total = yield* Effect.promise(stop)
          yield* Effect.promise(() => drained(p))
          yield* Fiber.interrupt(fiber)
          const rows = yield* Effect.promise(() => db().query(`SELECT id FROM ${p}effects`))
          return { total, ids: rows.map((row) => Number(row.id)).sort((a, b) => a - b) }
        }),
        { prefix: p, ...leaseTtl },
        { port: proxy.port }
      )
      expect(effects.ids).toEqual(range(effects.total))
    } finally {
      await proxy.stop()
    }
  })
}, { backends: [...new Set(["sqlite" as const, ...servers])] })
