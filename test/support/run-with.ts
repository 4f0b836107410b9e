/**
 * Runs a command with DATABASE_URL of a fresh database, on a server that is found or started like those of the tests:
 * `node --import tsx test/support/run-with.ts postgres -- npm start`. SQLite has no DATABASE_URL: the command makes its
 * own file.
 */
import * as ChildProcess from "node:child_process"
import { createDatabase } from "./backends.js"
import { find, type Kind } from "./servers.js"

/** The event loop stays free meanwhile: somebody must read what a server that was started here prints. */
const runs = (command: string, args: ReadonlyArray<string>, url: string | undefined): Promise<number> =>
  new Promise((resolve, reject) => {
    const env = { ...process.env }
    delete env.DATABASE_URL
    const child = ChildProcess.spawn(command, args, {
      stdio: "inherit",
      env: url === undefined ? env : { ...env, DATABASE_URL: url }
    })
    // the command decides how it ends; the database goes after that
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal))
    child.once("error", reject).once("exit", (code) => resolve(code ?? 1))
  })

const onServer = async (kind: Kind, command: string, args: ReadonlyArray<string>): Promise<number> => {
  const server = await find(kind)
  if ("missing" in server) {
    console.error(server.missing)
    return 1
  }
  process.env[`EVT_RUN_${kind.toUpperCase()}_URL`] = server.url
  try {
    const db = await createDatabase(kind)
    return await runs(command, args, db.url).finally(db.drop)
  } finally {
    await server.stop()
  }
}

const [kind, dashes, command, ...args] = process.argv.slice(2)
if (!["postgres", "mysql", "sqlite"].includes(kind ?? "") || dashes !== "--" || command === undefined) {
  console.error("usage: run-with.ts postgres|mysql|sqlite -- command arguments…")
  process.exit(2)
}
process.exit(await (kind === "sqlite" ? runs(command, args, undefined) : onServer(kind as Kind, command, args)))
