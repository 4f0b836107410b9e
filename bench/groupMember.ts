/**
 * A process of the bench of groups: `URL PARTITIONS AT_A_TIME`. Its handler takes 5 ms for an event, of which the process does
 * so many at a time (0: as many as come), and it says how many it has done.
 */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { database } from "../examples/main-job/database.js"
import { Pusher } from "../src/index.js"
import { Happened } from "./subject.js"

const [url, partitions, atATime] = process.argv.slice(2) as [string, string, string]
let done = 0
let said = 0
setInterval(() => {
  if (said !== done) process.stdout.write(`${said = done}\n`)
}, 10)

const main = Effect.gen(function*() {
  const pusher = yield* Pusher.Pusher
  const one = Effect.zipRight(Effect.sleep(5), Effect.sync(() => done++))
  const permits = Effect.unsafeMakeSemaphore(Math.max(1, Number(atATime)))
  return yield* pusher.run("G", () => atATime === "0" ? one : permits.withPermits(1)(one), {
    want: [Happened],
    partitions: Number(partitions),
    limit: 100
  })
})

Effect.runFork(main.pipe(
  Effect.provide(database(url, {})),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.none))
))
