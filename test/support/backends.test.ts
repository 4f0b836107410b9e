/** The tests' own tools: what they promise to the suites. */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import {
  type Backend,
  backends,
  type ClientOptions,
  createDatabase,
  servers,
  type TestDatabase,
  withPrivate
} from "./backends.js"
import { spawnTs } from "./child.js"
import { startProxy } from "./proxy.js"
import { answers, type Kind, startPrivate } from "./servers.js"
import { skipMissing, withDatabase } from "./suite.js"

const withSql = <A, E>(
  db: TestDatabase,
  effect: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, SqlClient.SqlClient>,
  options?: ClientOptions
) => Effect.runPromise(Effect.provide(Effect.flatMap(SqlClient.SqlClient, effect), db.client(options)))

const driver = (backend: Backend) => ({
  postgres: Effect.serviceOption(PgClient.PgClient),
  mysql: Effect.serviceOption(MysqlClient.MysqlClient),
  sqlite: Effect.serviceOption(SqliteClient.SqliteClient)
}[backend] as Effect.Effect<Option.Option<unknown>>)

const isolation = {
  postgres: "SHOW default_transaction_isolation",
  // tx_isolation or transaction_isolation: old MariaDB and new MySQL each know only one
  mysql: "SHOW VARIABLES LIKE 't%\\_isolation'",
  sqlite: "SELECT 'serializable'"
}

skipMissing("Test databases")

describe.each([...backends])("A test database (%s)", (backend) => {
  const db = withDatabase(backend)

  it("has a client, the driver's own too, and an administrator", async () => {
    const own = await withSql(db(), (sql) =>
      Effect.gen(function*() {
        yield* sql`CREATE TABLE seen (id INTEGER PRIMARY KEY)`
        yield* sql`INSERT INTO seen VALUES (7)`
        return yield* driver(backend)
      }))
    expect(Option.isSome(own)).toBe(true)
    expect((await db().query("SELECT id FROM seen")).map((row) => Number(row.id))).toEqual([7])
  })

  it("gives a client of its own at each call, and one with transforms", async () => {
    expect(db().client()).not.toBe(db().client())
    const [row] = await withSql(
      db(),
      (sql) => sql<Record<string, unknown>>`SELECT 1 AS ${sql("someName")}`,
      { peculiar: true }
    )
    expect(row).toEqual({ someName: 1 })
    expect(await db().query("SELECT 1 AS some_name")).toEqual([{ some_name: 1 }])
  })

  it("is gone when dropped", async () => {
    const other = await createDatabase(backend)
    await other.query("CREATE TABLE t (id INTEGER)")
    await other.drop()
    if (backend === "sqlite") expect(Fs.existsSync(other.url.slice("sqlite:".length))).toBe(false)
    else expect(await answers(backend, other.url)).toBe(false)
  })

  it("can have a default isolation of SERIALIZABLE", async () => {
    const serializable = await createDatabase(backend, { serializable: true })
    try {
      const [row] = await withSql(serializable, (sql) => sql.unsafe<Record<string, string>>(isolation[backend]))
      expect(Object.values(row!).map((value) => value.toLowerCase())).toContain("serializable")
    } finally {
      await serializable.drop()
    }
  })
})

describe.each([...servers])("A server's test database (%s)", (backend) => {
  const db = withDatabase(backend)

  it("kills the connections of others, and not its own", async () => {
    const sleep = backend === "postgres" ? "SELECT pg_sleep(30)" : "SELECT SLEEP(30)"
    let connected = () => {}
    const isConnected = new Promise<void>((resolve) => {
      connected = resolve
    })
    let ended = false
    const busy = withSql(db(), (sql) =>
      Effect.exit(Effect.zipRight(
        Effect.tap(sql`SELECT 1`, () => Effect.sync(connected)),
        sql.unsafe(sleep)
      ))).finally(() => {
        ended = true
      })
    await isConnected
    let killed = 0
    while (!ended) {
      killed += await db().killConnections()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(Exit.isFailure(await busy)).toBe(true)
    expect(killed).toBeGreaterThan(0)
    expect(await db().killConnections()).toBe(0)
    expect(await db().query("SELECT 1 AS one")).toEqual([{ one: 1 }])
  })

  it.each([["after", 1], ["before", 0]] as const)(
    "loses a COMMIT's answer %s the server got it",
    async (when, rows) => {
      const { hostname, port } = new URL(db().url)
      const proxy = await startProxy({ host: hostname, port: Number(port || (backend === "mysql" ? 3306 : 5432)) })
      try {
        const table = `cut_${when}`
        await db().query(`CREATE TABLE ${table} (id INTEGER PRIMARY KEY)`)
        const exit = await withSql(
          db(),
          (sql) =>
            Effect.exit(sql.withTransaction(Effect.zipRight(
              sql.unsafe(`INSERT INTO ${table} VALUES (1)`),
              Effect.sync(() => proxy.cut("COMMIT", when))
            ))),
          { port: proxy.port }
        )
        expect(Exit.isFailure(exit)).toBe(true)
        expect(proxy.cuts()).toBe(1)
        expect(await db().query(`SELECT id FROM ${table}`)).toHaveLength(rows)
      } finally {
        await proxy.stop()
      }
    }
  )

  it("can have a server of its own with settings, which ends when killed", async () => {
    const server = await startPrivate(backend as "postgres" | "mysql", { max_connections: "23" })
    try {
      expect(server.pid).toBeGreaterThan(0)
      expect(await answers(backend as "postgres" | "mysql", server.url)).toBe(true)
      server.kill("SIGKILL")
      let tries = 0
      while (await answers(backend as "postgres" | "mysql", server.url)) expect(++tries).toBeLessThan(1000)
    } finally {
      await server.stop()
    }
  })
})

describe.each([...withPrivate])("A server of its own (%s)", (backend) => {
  const kind = backend as Kind

  it("is stopped and started again, with its port and its data", async () => {
    const server = await startPrivate(kind)
    const url = server.url
    try {
      const db = await createDatabase(kind, { server })
      await db.query("CREATE TABLE kept (id INTEGER)")
      for (const [n, how] of (["politely", "killed"] as const).entries()) {
        await db.query(`INSERT INTO kept VALUES (${n})`)
        await server.off(how)
        expect(await answers(kind, url)).toBe(false)
        await server.on()
        expect(server.url).toBe(url)
      }
      expect((await db.query("SELECT id FROM kept ORDER BY id")).map((row) => Number(row.id))).toEqual([0, 1])
      await db.drop()
    } finally {
      await server.stop()
    }
  })

  it("leaves nothing behind when the process that started it is killed", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-left-"))
    // PostgreSQL runs as another user
    Fs.chmodSync(folder, 0o777)
    const file = fileURLToPath(new URL("server.fixture.ts", import.meta.url))
    const child = spawnTs(file, [kind], { TMPDIR: folder })
    const { url } = await child.message((message) => "url" in message)
    const left = () => Fs.readdirSync(folder).filter((name) => name.startsWith("evt-"))
    expect(await answers(kind, url)).toBe(true)
    expect(left()).toHaveLength(1)
    child.kill("SIGKILL")
    await child.exited
    let tries = 0
    while (left().length > 0 || await answers(kind, url)) {
      expect(++tries).toBeLessThan(300)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    Fs.rmSync(folder, { recursive: true })
  })
})

describe("A child process", () => {
  it("talks by lines of JSON until it is killed", async () => {
    const child = spawnTs(fileURLToPath(new URL("child.fixture.ts", import.meta.url)), ["a"], { EVT_CHILD: "b" })
    expect(await child.message((message) => "args" in message)).toEqual({ args: ["a"], env: "b" })
    await child.message((message) => message.waiting)
    expect(child.messages).toHaveLength(2)
    child.kill("SIGKILL")
    expect(await child.exited).toEqual({ code: null, signal: "SIGKILL" })
    await expect(child.message(() => false)).rejects.toThrow("ended")
  })
})
