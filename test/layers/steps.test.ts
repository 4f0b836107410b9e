/** Steps of several receivers as one transaction: each has the outcome that it would have alone, and waits for nobody. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { expect, it } from "vitest"
import { open } from "../../src/layers/sql/open.js"
import * as Store from "../../src/layers/sql/store.js"
import { servers } from "../support/backends.js"
import { onEach } from "../support/stream.js"

const identOf = (name: string) => `local:${name}`

/** A stream with consumers A to D, of which D has three partitions, all claimed. */
const opened = (prefix: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const options = { sql, reader: undefined, prefix, schema: undefined, migrate: "auto" } as const
    const store = yield* Store.make(options)
    const { database, dialect, names } = yield* open(options)
    for (const name of ["A", "B", "C", "D"]) {
      yield* store.register({ ident: identOf(name), exclusive: false, from: "beginning" })
    }
    yield* store.layOut({ ident: identOf("D"), partitions: 3, epoch: undefined, actor: "test" })
    const claim = (name: string) =>
      Effect.flatMap(
        store.claim({ ident: identOf(name), owner: "test", force: true, ttl: 15_000 }),
        (claim) => claim._tag === "Claimed" ? Effect.succeed(claim.epoch) : Effect.fail(claim._tag)
      )
    const epochs = new Map<string, bigint>()
    for (const name of ["A", "B", "C", "D#0", "D#1", "D#2"]) epochs.set(name, yield* claim(name))
    const step = (name: string, upTo: bigint, epoch = epochs.get(name) ?? 1n) => ({
      ident: identOf(name),
      epoch,
      upTo,
      deadLetters: []
    })
    const cursors = Effect.map(
      store.consumers,
      (all) =>
        Object.fromEntries(all.flatMap(({ cursor, ident, partitions }) => [
          [ident, cursor],
          ...partitions.map(({ cursor, number }) => [`${ident}#${number}`, cursor])
        ]))
    )
    return {
      store,
      step,
      epochs,
      claim,
      cursors,
      names,
      steps: (of: ReadonlyArray<ReturnType<typeof step>>) => database.reserved((conn) => dialect.steps(conn, of))
    }
  })

onEach("Steps taken together", ({ prefix, run }) => {
  it("have the outcomes that they would have alone", () => {
    const p = prefix()
    return run(
      Effect.gen(function*() {
        const { claim, cursors, epochs, step, steps } = yield* opened(p)
        // what a receiver that lost its lease still says, beside the one that has it now
        const lost = epochs.get("B")!
        epochs.set("B", yield* claim("B"))
        expect(
          yield* steps([
            step("A", 3n),
            step("A", 7n),
            step("A", 5n),
            step("B", 9n, lost),
            step("B", 4n),
            step("D#1", 6n),
            step("D#2", 8n, 1n),
            step("D#7", 8n),
            step("NOBODY", 2n)
          ])
        ).toEqual(["done", "done", "done", "fenced", "done", "done", "fenced", "unregistered", "unregistered"])
        // an earlier one moves nothing back
        expect(yield* steps([step("A", 6n), step("C", 1n)])).toEqual(["done", "done"])
        expect(yield* cursors).toEqual({
          "local:A": 7n,
          "local:B": 4n,
          "local:C": 1n,
          "local:D": 0n,
          "local:D#0": 0n,
          "local:D#1": 6n,
          "local:D#2": 0n
        })
      }),
      { prefix: p }
    )
  })

  it("from a hundred fibers every cursor is at its last step", () => {
    const p = prefix()
    return run(
      Effect.gen(function*() {
        const { cursors, step, store } = yield* opened(p)
        const names = ["A", "B", "C", "D#0", "D#1", "D#2"]
        const outcomes = yield* Effect.forEach(
          names.flatMap((name) => Array.from({ length: 17 }, (_, i) => step(name, BigInt(i + 1)))),
          store.step,
          { concurrency: "unbounded" }
        )
        expect(new Set(outcomes)).toEqual(new Set(["done"]))
        const reached = yield* cursors
        expect(names.map((name) => reached[identOf(name)])).toEqual(names.map(() => 17n))
      }),
      { prefix: p }
    )
  })
})

onEach("Steps on a server", ({ prefix, run }) => {
  it("do not wait for a row that somebody has locked", () => {
    const p = prefix()
    return run(
      Effect.gen(function*() {
        const { cursors, names, step, store } = yield* opened(p)
        const sql = yield* SqlClient.SqlClient
        const locked = yield* Deferred.make<void>()
        const release = yield* Deferred.make<void>()
        const holder = yield* Effect.fork(
          sql.withTransaction(
            Effect.zipRight(
              sql.unsafe(`SELECT 1 FROM ${names.consumers} WHERE ident = 'local:A' FOR UPDATE`),
              Effect.zipRight(Deferred.succeed(locked, undefined), Deferred.await(release))
            )
          )
        )
        yield* Deferred.await(locked)
        const waiting = yield* Effect.fork(store.step(step("A", 5n)))
        // it went alone; those that come now find it on its way, and another one of the same row among themselves
        yield* Effect.sleep(20)
        const again = yield* Effect.fork(store.step(step("A", 6n)))
        const others = yield* Effect.forEach([step("B", 1n), step("C", 2n), step("D#0", 3n)], store.step, {
          concurrency: "unbounded"
        })
        expect(others).toEqual(["done", "done", "done"])
        expect((yield* cursors)["local:A"]).toBe(0n)
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(holder)
        expect(yield* Fiber.join(waiting)).toBe("done")
        expect(yield* Fiber.join(again)).toBe("done")
        expect(yield* cursors).toMatchObject({ "local:A": 6n, "local:B": 1n, "local:C": 2n, "local:D#0": 3n })
      }),
      { prefix: p }
    )
  }, 30_000)
}, { backends: servers })
