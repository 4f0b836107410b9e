import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { describe, expect, it } from "vitest"
import { EventStream, Generator } from "../src/index.js"
import * as Migrate from "../src/layers/sql/migrate.js"
import * as Names from "../src/layers/sql/names.js"
import * as MysqlSteps from "../src/layers/sql/migrations/mysql.js"
import * as PostgresSteps from "../src/layers/sql/migrations/postgres.js"
import * as SqliteSteps from "../src/layers/sql/migrations/sqlite.js"
import { backends, createDatabase } from "./support/backends.js"
import { Gone, onEach, services } from "./support/stream.js"
import { Mysql, Pg } from "./support/servers.js"

const works = Effect.gen(function*() {
  const { generator, poller } = yield* services
  yield* poller.register("C")
  yield* generator.transaction(generator.emit(Gone, { id: 1 }))
  yield* generator.add(Gone, { id: 2 }, { dedupeKey: "a" })
  expect((yield* poller.poll("C")).events.length).toBe(2)
  expect((yield* poller.poll("C", { want: ["NONE"], lastId: 2 })).events).toEqual([])
  yield* poller.unregister("C")
})

onEach("Migrations", ({ backend, db, prefix, run }) => {
  it("without tables the layer says what to run, and creates nothing", async () => {
    const p = prefix()
    await expect(run(Effect.void, { prefix: p, migrate: "check" })).rejects.toThrow(
      /found no tables.*EventStream\.migrate/
    )
    await Effect.runPromise(Effect.provide(EventStream.migrate({ prefix: p }), db().client()))
    await run(works, { prefix: p, migrate: "check" })
  })

  it("many processes may migrate at once, and again", async () => {
    const p = prefix()
    const migrate = () => Effect.runPromise(Effect.provide(EventStream.migrate({ prefix: p }), db().client()))
    await Promise.all(Array.from({ length: 6 }, migrate))
    await migrate()
    await run(works, { prefix: p, migrate: "check" })
  })

  it("a migration that was killed after any of its statements is simply run again", async () => {
    const quote = backend === "mysql" ? Names.backticks : Names.doubleQuotes
    const schema = backend === "mysql"
      ? new URL(db().url).pathname.slice(1)
      : backend === "postgres"
      ? "public"
      : "main"
    const all = { mysql: MysqlSteps, postgres: PostgresSteps, sqlite: SqliteSteps }[backend]
    const count = all.steps(Names.make(schema, "x_", quote)).flatMap((step) => step.statements).length
    for (let done = 1; done < count; done++) {
      const p = prefix()
      const statements = all.steps(Names.make(schema, p, quote)).flatMap((step) => step.statements)
      // what is left behind where DDL commits by itself
      for (const sql of statements.slice(0, done)) await db().query(sql)
      await run(works, { prefix: p })
    }
  })

  it("several streams live in one database and one process, each with its own ids and consumers", async () => {
    const [a, b] = [prefix(), prefix()]
    class Orders extends EventStream.Tag<Orders>()("Orders", { prefix: a, migrate: "auto" }) {}
    class Users extends EventStream.Tag<Users>()("Users", { prefix: b, migrate: "auto" }) {}
    const layer = Layer.provideMerge(Layer.merge(Orders.layer(), Users.layer()), db().client())
    await Effect.runPromise(
      Effect.gen(function*() {
        const orders = yield* Orders
        const users = yield* Users
        const sql = yield* SqlClient.SqlClient
        expect(orders.stream).not.toBe(users.stream)
        yield* orders.poller.register("C")
        // one transaction may write to both: they are in one database
        yield* sql.withTransaction(Effect.zipRight(
          orders.generator.emit(Gone, { id: 1 }),
          users.generator.emitAll([Generator.event(Gone, { id: 2 }), Generator.event(Gone, { id: 3 })])
        ))
        expect((yield* orders.poller.poll("C")).events.map((e) => e.id)).toEqual([1n])
        expect((yield* users.poller.poll("LIVE")).events.map((e) => e.id)).toEqual([1n, 2n])
        expect(yield* Effect.flip(users.poller.poll("C"))).toMatchObject({ _tag: "NotRegistered" })
      }).pipe(Effect.provide(layer), Effect.scoped)
    )
  })

  it("tables of a later version than the next one are refused", async () => {
    const p = prefix()
    await run(Effect.void, { prefix: p })
    await db().query(`INSERT INTO ${p}migrations (id, name) VALUES (${Migrate.expected + 1}, 'next')`)
    await run(works, { prefix: p, migrate: "check" })
    await db().query(`INSERT INTO ${p}migrations (id, name) VALUES (9, 'later')`)
    await expect(run(Effect.void, { prefix: p })).rejects.toThrow(/schema version 9.*Update effect-eventstream/)
  })
})

describe.runIf(backends.includes("postgres"))("A role without DDL rights (postgres)", () => {
  it("uses a migrated database, in a schema of its own", async () => {
    const db = await createDatabase("postgres")
    const role = `evt_role_${Math.random().toString(36).slice(2)}`
    try {
      await db.query(`CREATE SCHEMA evts`)
      await Effect.runPromise(Effect.provide(EventStream.migrate({ schema: "evts" }), db.client()))
      await db.query(`CREATE ROLE ${role} LOGIN PASSWORD 'x'`)
      await db.query(`GRANT USAGE ON SCHEMA evts TO ${role}`)
      await db.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA evts TO ${role}`)
      await db.query(`GRANT SELECT ON ALL SEQUENCES IN SCHEMA evts TO ${role}`)
      await db.query(`GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA evts TO ${role}`)
      const url = new URL(db.url)
      url.username = role
      url.password = "x"
      const { client } = await import("../src/pg.js")
      const layer = EventStream.layer({ schema: "evts" }).pipe(Layer.provideMerge(client(url.href)))
      await Effect.runPromise(Effect.scoped(Effect.provide(works, layer)))
      const direct = new Pg.Client({ connectionString: url.href })
      await direct.connect()
      await expect(direct.query("CREATE TABLE evts.nope (id int)")).rejects.toThrow(/permission/)
      await direct.end()
    } finally {
      await db.query(`DROP OWNED BY ${role}`)
      await db.query(`DROP ROLE ${role}`)
      await db.drop()
    }
  })
})

describe.runIf(backends.includes("mysql"))("A role without DDL rights (mysql)", () => {
  it("uses a migrated database", async () => {
    const db = await createDatabase("mysql")
    const role = `r${Math.random().toString(36).slice(2, 10)}`
    const name = new URL(db.url).pathname.slice(1)
    try {
      await Effect.runPromise(Effect.provide(EventStream.migrate(), db.client()))
      for (const host of ["127.0.0.1", "localhost"]) {
        await db.query(`CREATE USER '${role}'@'${host}' IDENTIFIED BY 'x'`)
        await db.query(`GRANT SELECT, INSERT, UPDATE, DELETE, EXECUTE ON \`${name}\`.* TO '${role}'@'${host}'`)
      }
      const url = new URL(db.url)
      url.username = role
      url.password = "x"
      const { client } = await import("../src/mysql.js")
      const layer = EventStream.layer().pipe(Layer.provideMerge(client(url.href)))
      await Effect.runPromise(Effect.scoped(Effect.provide(works, layer)))
      const direct = await Mysql.createConnection(url.href)
      await expect(direct.query("CREATE TABLE nope (id int)")).rejects.toThrow(/denied/)
      await direct.end()
    } finally {
      for (const host of ["127.0.0.1", "localhost"]) await db.query(`DROP USER '${role}'@'${host}'`)
      await db.drop()
    }
  })
})
