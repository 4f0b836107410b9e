/**
 * A hot standby: two processes run the same consumer, one is active. It is killed, the other one takes over within the
 * lease time and goes on with the first event that was not acknowledged.
 */
import { Effect, Layer, Schema } from "effect"
import { EventType, Generator, Poller, Pusher } from "effect-eventstream"
import * as Sqlite from "effect-eventstream/sqlite"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"

const Tick = EventType.make("TICK", Schema.Struct({ n: Schema.Int }))

const Events = Sqlite.layer({ migrate: "auto", pusher: { leaseTtl: "2 seconds" } }).pipe(
  Layer.provideMerge(Sqlite.client("standby.db"))
)

/** What both processes run: `whenBusy` is `wait` by default. */
const consumer = Effect.flatMap(Pusher.Pusher, (pusher) =>
  pusher.run("CLOCK", {
    batch: (events) =>
      Effect.zipRight(
        Effect.sleep("50 millis"),
        Effect.sync(() => {
          for (const event of events) if (event._tag === "Known") console.log(event.data.n)
        })
      )
  }, { want: [Tick], limit: 5 }))

const main = Effect.gen(function*() {
  const generator = yield* Generator.Generator
  const poller = yield* Poller.Poller
  yield* poller.register("CLOCK", { from: "end" })
  yield* generator.addAll(Array.from({ length: 200 }, (_, n) => Generator.event(Tick, { n })))

  const seen = new Set<number>()
  const spawn = (name: string) => {
    const child = ChildProcess.spawn(
      process.execPath,
      [...process.execArgv, fileURLToPath(import.meta.url), "consumer"],
      { stdio: ["ignore", "pipe", "inherit"] }
    )
    let handled = 0
    child.stdout.on("data", (data) => {
      for (const line of String(data).trim().split("\n")) {
        seen.add(Number(line))
        handled++
      }
    })
    return { name, child, handled: () => handled }
  }
  const processes = [spawn("first"), spawn("second")]
  const active = () => processes.find(({ handled }) => handled() > 0)
  while (active() === undefined || active()!.handled() < 50) yield* Effect.sleep("20 millis")
  const killed = active()!
  killed.child.kill("SIGKILL")
  yield* Effect.log(`the active one was killed after ${killed.handled()} events`)
  while (seen.size < 200) yield* Effect.sleep("20 millis")
  const standby = processes.find((process) => process !== killed)!
  yield* Effect.log(`the standby took over and handled ${standby.handled()}; ${seen.size} of 200 events are handled`)
  standby.child.kill("SIGKILL")
})

const role: Effect.Effect<unknown, unknown, Generator.Generator | Poller.Poller | Pusher.Pusher> =
  process.argv[2] === "consumer" ? consumer : main

Effect.runPromise(Effect.provide(role, Events))
