/**
 * The databases that one suite runs on: `describe.each(backends)`. Each test file makes its own, randomly named, and
 * drops it at the end.
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as String from "effect/String"
import { randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { EventStream } from "../../src/index.js"
import type { EventStreamLayer } from "./stream.js"
import * as SqliteStream from "../../src/sqlite.js"
import { canStartPrivate, Mysql, Pg, type Server, Sqlite, startPrivate } from "./servers.js"

export type Backend = "sqlite" | "postgres" | "mysql"

const urlOf = (backend: "postgres" | "mysql") => process.env[`EVT_RUN_${backend.toUpperCase()}_URL`]

/** Those that there are; globalSetup has said loudly which are missing, and fails instead with CI=true. */
export const backends: ReadonlyArray<Backend> = [
  "sqlite",
  ...(["postgres", "mysql"] as const).filter((backend) => urlOf(backend) !== undefined)
]

/** The ones with a server, for what cannot happen in a file. */
export const servers = backends.filter((backend) => backend !== "sqlite")

/** The ones of which a second server can be started: databases of one MySQL server share transactions and settings. */
export const withPrivate = servers.filter((backend) => {
  const can = canStartPrivate(backend)
  const why = `${backend}: no program to start a second server with; the tests that need one are left out`
  if (!can && process.env.CI === "true") throw new Error(why)
  if (!can) console.error(`SKIPPED: ${why}`)
  return can
})

export interface ClientOptions {
  readonly maxConnections?: number | undefined
  /** Another port than the server's: a proxy in front of it. */
  readonly port?: number | undefined
  /** Name transforms and, on PostgreSQL, a parser of its own for int8: settings that must not change us. */
  readonly peculiar?: boolean | undefined
}

export interface TestDatabase {
  readonly backend: Backend
  readonly url: string
  /** A client of its own at each call: a layer is built once for each object. */
  readonly client: (options?: ClientOptions) => Layer.Layer<SqlClient.SqlClient, unknown>
  /** The stream on such a client, and the client. */
  readonly stream: (options?: EventStream.Options, client?: ClientOptions) => EventStreamLayer
  /** Through an administrator's connection with the bare driver. */
  readonly query: (text: string) => Promise<ReadonlyArray<any>>
  /** Kills all other sessions in the database; how many. */
  readonly killConnections: () => Promise<number>
  readonly drop: () => Promise<void>
}

const transforms = { transformQueryNames: String.camelToSnake, transformResultNames: String.snakeToCamel }

const streamOn =
  (backend: Backend, client: TestDatabase["client"]): TestDatabase["stream"] => (options, clientOptions) => {
    const stream = backend === "sqlite"
      ? SqliteStream.layer({ migrate: "auto", ...options }) as ReturnType<typeof EventStream.layer>
      : EventStream.layer({ migrate: "auto", ...options })
    return Layer.provideMerge(stream, client(clientOptions)) as EventStreamLayer
  }

export interface DatabaseOptions {
  readonly serializable?: boolean
  /** The server to make it on; by default the one that was found. */
  readonly server?: Server
}

export const createDatabase = (backend: Backend, options: DatabaseOptions = {}) =>
  backend === "sqlite"
    ? createSqlite()
    : backend === "postgres"
    ? createPostgres(options)
    : createMysql(options)

const createSqlite = async (): Promise<TestDatabase> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-test-"))
  const filename = Path.join(folder, "test.db")
  const client: TestDatabase["client"] = (options) =>
    SqliteClient.layer({ filename, ...(options?.peculiar ? transforms : {}) })
  return {
    backend: "sqlite",
    url: `sqlite:${filename}`,
    client,
    stream: streamOn("sqlite", client),
    query: async (text) => {
      const db = new Sqlite(filename)
      try {
        const statement = db.prepare(text)
        return statement.reader ? statement.all() : (statement.run(), [])
      } finally {
        db.close()
      }
    },
    killConnections: async () => 0,
    drop: async () => Fs.rmSync(folder, { recursive: true, force: true })
  }
}

const randomName = () => `evt_test_${randomBytes(6).toString("hex")}`

const createPostgres = async ({ serializable, server }: DatabaseOptions): Promise<TestDatabase> => {
  const base = server?.url ?? urlOf("postgres")!
  const admin = new Pg.Pool({ connectionString: base, max: 2 })
  admin.on("error", () => {})
  const name = randomName()
  await admin.query(`CREATE DATABASE ${name}`)
  if (serializable) await admin.query(`ALTER DATABASE ${name} SET default_transaction_isolation = 'serializable'`)
  const url = new URL(base)
  url.pathname = `/${name}`
  const inside = new Pg.Pool({ connectionString: url.href, max: 2, application_name: "evt-admin" })
  inside.on("error", () => {})
  const client: TestDatabase["client"] = (options) => {
    const target = new URL(url.href)
    if (options?.port !== undefined) target.port = `${options.port}`
    return PgClient.layer({
      url: Redacted.make(target.href),
      maxConnections: options?.maxConnections ?? 10,
      ...(options?.peculiar
        ? {
          ...transforms,
          types: {
            getTypeParser: (oid: number, format: any) => oid === 20 ? BigInt : Pg.types.getTypeParser(oid, format)
          }
        }
        : {})
    })
  }
  return {
    backend: "postgres",
    url: url.href,
    client,
    stream: streamOn("postgres", client),
    query: async (text) => (await inside.query(text)).rows,
    killConnections: async () => {
      const { rows } = await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name <> 'evt-admin'`,
        [name]
      )
      return rows.length
    },
    drop: async () => {
      await inside.end()
      await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
      await admin.end()
    }
  }
}

const createMysql = async ({ serializable, server }: DatabaseOptions): Promise<TestDatabase> => {
  // the default isolation is the server's there, so it gets a server of its own
  const own = serializable ? await startPrivate("mysql", { "transaction-isolation": "SERIALIZABLE" }) : undefined
  const base = (own ?? server)?.url ?? urlOf("mysql")!
  const name = randomName()
  const admin = Mysql.createPool({ uri: base, connectionLimit: 2, multipleStatements: true })
  await admin.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`)
  const url = new URL(base)
  url.pathname = `/${name}`
  const inside = Mysql.createPool({ uri: url.href, connectionLimit: 2, multipleStatements: true })
  const client: TestDatabase["client"] = (options) => {
    const maxConnections = options?.maxConnections ?? 10
    return MysqlClient.layer({
      host: url.hostname,
      port: options?.port ?? Number(url.port === "" ? 3306 : url.port),
      username: decodeURIComponent(url.username),
      ...(url.password === "" ? {} : { password: Redacted.make(decodeURIComponent(url.password)) }),
      database: name,
      maxConnections,
      poolConfig: { maxIdle: maxConnections },
      ...(options?.peculiar ? transforms : {})
    })
  }
  const sessions = `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE DB = '${name}'`
  return {
    backend: "mysql",
    url: url.href,
    client,
    stream: streamOn("mysql", client),
    query: async (text) => {
      const [rows] = await inside.query(text)
      return Array.isArray(rows) ? rows : []
    },
    killConnections: async () => {
      const ours = new Set<number>()
      for (const connection of (inside as any).pool._allConnections.toArray()) ours.add(connection.threadId)
      const [rows] = await admin.query(sessions)
      let killed = 0
      for (const { id } of rows as Array<{ id: number }>) {
        if (ours.has(id)) continue
        await admin.query(`KILL ${id}`).then(() => killed++, () => {})
      }
      return killed
    },
    drop: async () => {
      await inside.end()
      await admin.query(`DROP DATABASE IF EXISTS ${name}`)
      await admin.end()
      await own?.stop()
    }
  }
}
