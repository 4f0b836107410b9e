/**
 * Runs a command with DATABASE_URL of a fresh database, on a server that is found or started like those of the tests:
 * `node --import tsx test/support/run-with.ts postgres -- npm start`
 */
import * as ChildProcess from "node:child_process"
import { createDatabase } from "./backends.js"
import { find, type Kind } from "./servers.js"

const [kind, , command, ...args] = process.argv.slice(2) as [Kind, string, string, ...Array<string>]
const server = await find(kind)
if ("missing" in server) {
  console.error(server.missing)
  process.exit(1)
}
process.env[`EVT_RUN_${kind.toUpperCase()}_URL`] = server.url
const db = await createDatabase(kind)
const { status } = ChildProcess.spawnSync(command, args, {
  stdio: "inherit",
  env: { ...process.env, DATABASE_URL: db.url }
})
await db.drop()
await server.stop()
process.exit(status ?? 1)
