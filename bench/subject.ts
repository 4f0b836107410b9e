/** What is measured: one database, the stream on it through one client, and the bare driver beside it. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schema from "effect/Schema"
import type { Services } from "../examples/main-job/database.js"
import { EventType, Generator, Poller, Pusher, Sequencer } from "../src/index.js"
import { type Backend, createDatabase, type TestDatabase } from "../test/support/backends.js"
import { find, Mysql, Pg, type Server, Sqlite } from "../test/support/servers.js"

export const Happened = EventType.make("HAPPENED", Schema.Struct({ n: Schema.Int, text: Schema.String }))
export const text = "x".repeat(180)

export interface Bare {
  /** One statement, with `?` parameters, on a connection of the pool; rows. */
  readonly query: (sql: string, params?: ReadonlyArray<unknown>) => Promise<ReadonlyArray<any>>
  /** A transaction of statements. */
  readonly transaction: (
    body: (query: (sql: string, params?: ReadonlyArray<unknown>) => Promise<unknown>) => Promise<void>
  ) => Promise<void>
  readonly close: () => Promise<void>
}

export interface Subject {
  readonly backend: Backend
  readonly url: string
  readonly run: <A>(effect: Effect.Effect<A, any, Services>) => Promise<A>
  readonly bare: Bare
  readonly close: () => Promise<void>
}

const numbered = (sql: string) => {
  let n = 0
  return sql.replaceAll("?", () => `$${++n}`)
}

export const bareOf = (backend: Backend, url: string, connections: number): Bare => {
  if (backend === "sqlite") {
    const db = new Sqlite(url.replace("sqlite:", ""))
    db.pragma("journal_mode = WAL")
    const statements = new Map<string, any>()
    const query = async (sql: string, params: ReadonlyArray<unknown> = []) => {
      const statement = statements.get(sql) ?? db.prepare(sql)
      statements.set(sql, statement)
      return statement.reader ? statement.all(...params) : (statement.run(...params), [])
    }
    return {
      query,
      transaction: async (body) => {
        db.exec("BEGIN IMMEDIATE")
        await body(query)
        db.exec("COMMIT")
      },
      close: async () => db.close()
    }
  }
  if (backend === "postgres") {
    const pool = new Pg.Pool({ connectionString: url, max: connections })
    // the database is dropped while the last sockets are still closing
    pool.on("error", () => {})
    return {
      query: async (sql, params) => (await pool.query(numbered(sql), params)).rows,
      transaction: async (body) => {
        const client = await pool.connect()
        await client.query("BEGIN")
        await body((sql, params) => client.query(numbered(sql), params))
        await client.query("COMMIT")
        client.release()
      },
      close: () => pool.end()
    }
  }
  const pool = Mysql.createPool({ uri: url, connectionLimit: connections, supportBigNumbers: true })
  return {
    query: async (sql, params) => (await pool.execute(sql, params))[0],
    transaction: async (body) => {
      const connection = await pool.getConnection()
      await connection.query("START TRANSACTION")
      await body((sql, params) => connection.execute(sql, params))
      await connection.query("COMMIT")
      connection.release()
    },
    close: () => pool.end()
  }
}

let server: Server | undefined

export const open = async (backend: Backend, options: { readonly connections: number }): Promise<Subject> => {
  if (backend !== "sqlite" && server === undefined) {
    const found = await find(backend)
    if ("missing" in found) throw new Error(found.missing)
    server = found
    process.env[`EVT_RUN_${backend.toUpperCase()}_URL`] = found.url
  }
  const db: TestDatabase = await createDatabase(backend)
  const client = { maxConnections: options.connections }
  const runtime = ManagedRuntime.make(db.stream({}, client) as Layer.Layer<Services>)
  await runtime.runPromise(Effect.void)
  const bare = bareOf(backend, db.url, options.connections)
  return {
    backend,
    url: db.url,
    run: (effect) => runtime.runPromise(effect),
    bare,
    close: async () => {
      await runtime.dispose()
      await bare.close()
      await db.drop()
    }
  }
}

export const closeServer = () => server?.stop()

export const services = Effect.all({
  generator: Generator.Generator,
  poller: Poller.Poller,
  pusher: Pusher.Pusher,
  sequencer: Sequencer.Sequencer,
  sql: SqlClient.SqlClient
})
