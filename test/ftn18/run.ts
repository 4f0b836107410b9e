/**
 * `npm run test:ftn18`: the conformance kit against our server, on SQLite, PostgreSQL and MariaDB, over http and ws as well
 * as over https and wss. Names of databases as arguments: those only.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { type Backend, createDatabase } from "../support/backends.js"
import { makeCertificate } from "../support/certificate.js"
import { find, type Server } from "../support/servers.js"
import * as Kit from "./kit.js"
import { serve } from "./server.js"

/** Scenarios of the kit. */
const all = 87

const known: ReadonlyArray<Backend> = ["sqlite", "postgres", "mysql"]
const asked = process.argv.slice(2)
const unknown = asked.find((name) => !known.includes(name as Backend))
if (unknown !== undefined) {
  console.error(`${unknown}: none of ${known.join(", ")}`)
  process.exit(2)
}
const folder = Kit.install()
const certificate = makeCertificate()
const trusted = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-ftn18-")), "ca.pem")
Fs.writeFileSync(trusted, certificate.cert)

/** A database of its own: scenarios of two kits at a time would see each other's events. */
const conforms = async (backend: Backend, channel: "plain" | "tls"): Promise<Kit.Result> => {
  const tls = channel === "tls"
  const name = `${backend}, ${tls ? "https and wss" : "http and ws"}`
  const db = await createDatabase(backend)
  try {
    const result = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const { port } = yield* serve(
        db.stream(),
        tls ? { path: "/ftn/", tls: certificate, secureChannel: "tls" } : { path: "/" }
      )
      const place = `127.0.0.1:${port}${tls ? "/ftn/" : "/"}`
      const urls = tls ? [`https://${place}`, `wss://${place}`] : [`http://${place}`, `ws://${place}`]
      return yield* Effect.promise(() => Kit.run(folder, urls, (line) => console.log(`${name}: ${line}`), trusted))
    })))
    console.log(`${name}: ${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`)
    return result
  } finally {
    await db.drop()
  }
}

let passed = 0
let failed = 0
for (const backend of asked.length === 0 ? known : asked as ReadonlyArray<Backend>) {
  let server: Server | undefined
  if (backend !== "sqlite") {
    const found = await find(backend)
    if ("missing" in found) {
      console.error(found.missing)
      failed += 2 * all
      continue
    }
    server = found
    process.env[`EVT_RUN_${backend.toUpperCase()}_URL`] = server.url
  }
  for (const outcome of await Promise.allSettled([conforms(backend, "plain"), conforms(backend, "tls")])) {
    if (outcome.status === "rejected") {
      console.error(outcome.reason)
      failed += all
    } else {
      passed += outcome.value.passed
      // what was skipped, or is not there, has not passed
      failed += all - outcome.value.passed
    }
  }
  await server?.stop()
}
Fs.rmSync(Path.dirname(trusted), { recursive: true })
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 ? 0 : 1)
