/** The database server itself is stopped, politely and by SIGKILL, and started again: everybody goes on by themselves. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { database } from "../../examples/main-job/database.js"
import { Delivery } from "../../src/index.js"
import { createDatabase, type TestDatabase, withPrivate } from "../support/backends.js"
import { type Kind, type Server, startPrivate } from "../support/servers.js"
import { Gone, services } from "../support/stream.js"
import { full, rounds } from "./rounds.js"

/** Ids of events that `add` writes; those of transactions are smaller. */
const firstAdd = 1_000_000
const sorted = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b)
const tagOf = (error: unknown) => (error as { readonly _tag?: string } | undefined)?._tag ?? String(error)

/** How each write ended, as its caller was told. */
interface Told {
  readonly committed: Array<number>
  readonly rolledBack: Array<number>
  readonly unknown: Array<number>
  readonly added: Map<number, bigint>
  readonly notAdded: Array<number>
  /** The uids of adds that may be stored or not. */
  readonly unknownUids: Array<string>
  /** Anything that is no typed error of a database that is gone. */
  readonly wrong: Array<string>
}

/** Writes until told to stop, through every failure that is typed. */
const writing = (p: string, told: Told, ended: () => boolean) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { generator } = yield* services
    const failed = (what: string, cause: Cause.Cause<unknown>) => {
      if (!Cause.isFailType(cause)) told.wrong.push(`${what}: ${Cause.pretty(cause)}`)
      return Cause.squash(cause) as any
    }
    let n = 0
    const transact = Effect.gen(function*() {
      const id = ++n
      const exit = yield* Effect.exit(generator.transaction(Effect.zipRight(
        sql.unsafe(`INSERT INTO ${p}ledger (id) VALUES (${id})`),
        generator.emit(Gone, { id })
      )))
      yield* Effect.sleep(3)
      if (Exit.isSuccess(exit)) return void told.committed.push(id)
      const error = failed("transaction", exit.cause)
      // what the user's own statement fails with is the client's error
      if (!["TransactionFailed", "TransactionLost", "StoreError", "SqlError"].includes(tagOf(error))) {
        told.wrong.push(`transaction: ${tagOf(error)}`)
      }
      const unknown = error._tag === "TransactionFailed" && error.outcome === "unknown"
      return void (unknown ? told.unknown : told.rolledBack).push(id)
    })
    let a = firstAdd
    const add = Effect.gen(function*() {
      const id = ++a
      const exit = yield* Effect.exit(generator.add(Gone, { id }))
      yield* Effect.sleep(3)
      if (Exit.isSuccess(exit)) return void told.added.set(id, exit.value)
      const error = failed("add", exit.cause)
      if (tagOf(error) === "OutcomeUnknown") return void told.unknownUids.push(...error.uids)
      if (tagOf(error) !== "StoreError") told.wrong.push(`add: ${tagOf(error)}`)
      return void told.notAdded.push(id)
    })
    const loop = <R>(one: Effect.Effect<void, never, R>) => Effect.repeat(one, { until: ended })
    yield* Effect.all([loop(transact), loop(transact), loop(add), loop(add)], {
      concurrency: "unbounded",
      discard: true
    })
  })

describe.each([...withPrivate])("A server that is stopped and started again (%s)", (backend) => {
  let server: Server
  let db: TestDatabase
  beforeAll(async () => {
    server = await startPrivate(backend as Kind)
    db = await createDatabase(backend, { server })
  })
  afterAll(async () => {
    await db?.drop()
    await server?.stop()
  })

  const escaped: Array<string> = []
  const escape = (error: unknown) => void escaped.push(error instanceof Error ? error.stack! : String(error))
  beforeEach(() => {
    escaped.length = 0
    process.on("unhandledRejection", escape).on("uncaughtException", escape)
  })
  afterEach(() => {
    process.off("unhandledRejection", escape).off("uncaughtException", escape)
  })

  it("delivery goes on by itself, nothing is lost, and every write ends as its caller was told", async () => {
    const p = "r_"
    const told: Told = {
      committed: [],
      rolledBack: [],
      unknown: [],
      added: new Map(),
      notAdded: [],
      unknownUids: [],
      wrong: []
    }
    const ran: Array<number> = []
    const polled: Array<number> = []
    const program = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { poller, pusher } = yield* services
      yield* sql.unsafe(`CREATE TABLE ${p}ledger (id INTEGER PRIMARY KEY)`)
      // without a key: what takes effect twice is seen
      yield* sql.unsafe(`CREATE TABLE ${p}effects (id INTEGER NOT NULL)`)
      for (const name of ["RUN", "ONCE", "POLL"]) yield* poller.register(name)

      const consumers = {
        RUN: yield* Effect.fork(pusher.run("RUN", (event) =>
          Effect.sync(() => {
            if (event._tag === "Known") ran.push(event.data.id)
          }), { want: [Gone], limit: 50 })),
        ONCE: yield* Effect.fork(pusher.run("ONCE", (event) =>
          event._tag === "Known"
            ? sql.unsafe(`INSERT INTO ${p}effects (id) VALUES (${event.data.id})`)
            : Effect.void, { want: [Gone], limit: 50, exactlyOnce: true })),
        POLL: yield* Effect.fork(
          poller.stream("POLL", { want: [Gone], limit: 50 }).pipe(
            Delivery.handle(Effect.forEach((event) =>
              Effect.sync(() => {
                if (event._tag === "Known") polled.push(event.data.id)
              })
            )),
            Stream.runDrain
          )
        )
      }
      let end = false
      const writer = yield* Effect.fork(writing(p, told, () => end))

      /** What was written after `since` has arrived everywhere; fails as soon as a consumer has ended. */
      const arrived = (since: number) =>
        Effect.repeat(
          Effect.gen(function*() {
            yield* Effect.sleep(50)
            for (const [name, fiber] of Object.entries(consumers)) {
              const exit = fiber.unsafePoll()
              if (exit !== null) throw new Error(`${name} has ended: ${exit}`)
            }
            const newest = told.committed.find((id) => id > since)
            if (newest === undefined) return false
            const rows = yield* Effect.promise(() => db.query(`SELECT id FROM ${p}effects WHERE id = ${newest}`))
            return ran.includes(newest) && polled.includes(newest) && rows.length > 0
          }),
          { until: (all) => all }
        ).pipe(Effect.timeoutFail({
          duration: "60 seconds",
          onTimeout: () => new Error(`nothing arrives: ${ran.length} ${polled.length} ${told.committed.length}`)
        }))

      yield* arrived(0)
      for (let round = 0; round < rounds(1, 3); round++) {
        // the bounded round is the hard one
        yield* Effect.promise(() => server.off(full && round % 2 === 0 ? "politely" : "killed"))
        yield* Effect.sleep(rounds(2500, 5000))
        yield* Effect.promise(() => server.on())
        yield* arrived(Math.max(...told.committed, ...told.unknown, 0))
        // somewhere in the middle of it all
        yield* Effect.sleep(Math.random() * 500)
      }
      end = true
      yield* Fiber.join(writer)

      const ids = (text: string) => Effect.promise(async () => (await db.query(text)).map((row) => Number(row.id)))
      const ledger = yield* ids(`SELECT id FROM ${p}ledger`)
      // what is in the queue still is sequenced by a poll
      yield* poller.poll("LIVE")
      const log = yield* Effect.promise(() => db.query(`SELECT id, uid, data FROM ${p}log`))
      const logged = new Map(log.map((row) => {
        const data = typeof row.data === "string" ? JSON.parse(row.data) : row.data
        return [data.id as number, { id: BigInt(row.id), uid: String(row.uid) }]
      }))

      // the writers' view
      expect(told.wrong).toEqual([])
      const kept = new Set(ledger)
      expect(told.committed.filter((id) => !kept.has(id))).toEqual([])
      expect(told.rolledBack.filter((id) => kept.has(id))).toEqual([])
      expect(sorted([...logged.keys()].filter((id) => id < firstAdd))).toEqual(sorted(ledger))
      for (const [id, eventId] of told.added) expect(logged.get(id)?.id).toBe(eventId)
      expect(told.notAdded.filter((id) => logged.has(id))).toEqual([])
      const uids = new Set(log.map((row) => String(row.uid)))
      const explained = told.added.size + told.unknownUids.filter((uid) => uids.has(uid)).length
      expect([...logged.keys()].filter((id) => id > firstAdd)).toHaveLength(explained)
      expect(log).toHaveLength(logged.size)

      // the consumers' view
      const everything = sorted(logged.keys())
      const complete = Effect.gen(function*() {
        yield* Effect.sleep(50)
        const effects = yield* ids(`SELECT id FROM ${p}effects`)
        return { effects, done: [effects, ran, polled].every((seen) => new Set(seen).size >= everything.length) }
      })
      const { effects } = yield* Effect.repeat(complete, { until: ({ done }) => done }).pipe(
        Effect.timeout("30 seconds")
      )
      expect(sorted(new Set(ran))).toEqual(everything)
      expect(sorted(new Set(polled))).toEqual(everything)
      expect(sorted(effects)).toEqual(everything)
      yield* Fiber.interruptAll(Object.values(consumers) as ReadonlyArray<Fiber.Fiber<unknown, unknown>>)
      console.log(
        `${backend}: ${everything.length} events; ${told.rolledBack.length} transactions rolled back, ${told.unknown.length} ` +
          `unknown; ${told.notAdded.length} adds failed, ${told.unknownUids.length} unknown; ` +
          `repeated ${ran.length - everything.length} and ${polled.length - everything.length}`
      )
    })
    const layer = database(db.url, { prefix: p, migrate: "auto", pusher: { leaseTtl: "2 seconds" } })
    await Effect.runPromise(Effect.provide(program, layer))
    expect(escaped).toEqual([])
  })

  // each of the two asks for 20 seconds what became of its add
  // it waits for 40 s: all rounds only
  if (!full) return
  it("an add is OutcomeUnknown if it was sent, and a StoreError if it cannot have been", async () => {
    const p = "u_"
    const program = Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { generator, poller } = yield* services
      const first = yield* generator.add(Gone, { id: 1 })
      // whoever has the head holds up an add after it was sent
      const locked = yield* Effect.makeLatch(false)
      const holder = yield* Effect.fork(generator.transaction(
        sql.unsafe(`SELECT * FROM ${p}head FOR UPDATE`).pipe(
          Effect.zipRight(locked.open),
          Effect.zipRight(Effect.never)
        )
      ))
      yield* locked.await
      const sent = yield* Effect.fork(Effect.flip(generator.add(Gone, { id: 2 })))
      yield* Effect.sleep(500)
      yield* Effect.promise(() => server.off("killed"))
      const unsent = yield* Effect.fork(Effect.flip(generator.add(Gone, { id: 3 })))
      expect(yield* Fiber.join(sent)).toMatchObject({ _tag: "OutcomeUnknown", uids: [expect.any(String)] })
      expect(yield* Fiber.join(unsent)).toMatchObject({ _tag: "StoreError", reason: "connection", retryable: true })
      yield* Fiber.interrupt(holder)
      yield* Effect.promise(() => server.on())
      expect(yield* generator.add(Gone, { id: 4 })).toBe(first + 1n)
      const { events } = yield* poller.poll("LIVE", { want: [Gone] })
      expect(events.map((event) => event._tag === "Known" && event.data.id)).toEqual([1, 4])
    })
    await Effect.runPromise(Effect.provide(program, database(db.url, { prefix: p, migrate: "auto", sequencer: "off" })))
    expect(escaped).toEqual([])
  })
})
