/** One transaction of the chaos, and its tables. The truth is a ledger that each transaction writes: what is in it has committed. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { EventType, Generator } from "../../src/index.js"
import type { Isolation } from "../../src/services/EventStore.js"
import type { Backend } from "../support/backends.js"

export const Changed = EventType.make(
  "CHANGED",
  Schema.Struct({ tx: Schema.String, n: Schema.Int, entity: Schema.Int, version: Schema.Int })
)

const entities = 64
const isolations: ReadonlyArray<Isolation | undefined> = [
  undefined,
  "read committed",
  "repeatable read",
  "serializable"
]

export const createTables = (prefix: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql.unsafe(`CREATE TABLE ${prefix}ledger (tx VARCHAR(40) PRIMARY KEY, events VARCHAR(200) NOT NULL)`)
    yield* sql.unsafe(`CREATE TABLE ${prefix}entities (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)`)
    const rows = Array.from({ length: entities }, (_, id) => `(${id}, 0)`).join(", ")
    yield* sql.unsafe(`INSERT INTO ${prefix}entities VALUES ${rows}`)
  })

class Deliberate extends Error {
  readonly _tag = "Deliberate"
}

let names = 0

/** One transaction; when it returns it has committed. */
export const write = (options: { readonly backend: Backend; readonly prefix: string }, open: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const generator = yield* Generator.Generator
    const { prefix } = options
    const isolation = isolations[yield* Random.nextIntBetween(0, isolations.length)]
    const count = yield* Random.nextIntBetween(1, 5)
    const fails = open < 1000 && (yield* Random.next) < 0.1
    const entity = yield* Random.nextIntBetween(0, entities)
    const bare = (yield* Random.next) < 0.2
    const body = Effect.gen(function*() {
      const tx = `${process.pid}-${++names}`
      const kept: Array<number> = []
      yield* sql.unsafe(`UPDATE ${prefix}entities SET version = version + 1 WHERE id = ${entity}`)
      const [row] = yield* sql.unsafe<{ version: number }>(
        `SELECT version FROM ${prefix}entities WHERE id = ${entity}`
      )
      const version = Number(row!.version)
      const emit = (n: number) => generator.emit(Changed, { tx, n, entity, version })
      for (let n = 0; n < count; n++) {
        const savepoint = (yield* Random.next) < 0.3
        if (!savepoint) {
          yield* emit(n)
          kept.push(n)
        } else if ((yield* Random.next) < 0.5) {
          yield* Effect.catchTag(
            sql.withTransaction(Effect.zipRight(emit(n), Effect.fail(new Deliberate()))),
            "Deliberate",
            () => Effect.void
          )
        } else {
          yield* sql.withTransaction(emit(n))
          kept.push(n)
        }
        if (options.backend !== "sqlite") yield* Effect.sleep(open / count)
      }
      yield* sql.unsafe(`INSERT INTO ${prefix}ledger VALUES ('${tx}', '${kept.join(" ")}')`)
      if (fails) yield* Effect.fail(new Deliberate())
      return kept.map((n) => `${tx}/${n}`)
    })
    const whole = bare ? sql.withTransaction(body) : generator.transaction(body, { isolation })
    return yield* Effect.map(whole, (keys) => ({ keys, at: Date.now() }))
  })
