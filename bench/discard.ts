/**
 * Discarding: events a second against a bare loop of DELETEs of the same size on the same table, and what writers keep of
 * their speed while it is at work.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { Discarder, Poller } from "../src/index.js"
import { fill } from "./drain.js"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

const batch = 1000
// a millisecond instead of none: the age of each event is looked at, as it is by default
const options = { limitAtOnce: batch, retain: { for: 1 } }

const once = (subject: Subject) => subject.run(Effect.flatMap(Discarder.Discarder, (it) => it.once(options)))

const speed = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend, bare, run } = subject
  const rounds = quick ? 3 : 7
  const each = quick ? 5000 : 50_000
  await fill(subject, 2 * (rounds + 1) * each)
  if (backend === "postgres") await bare.query("VACUUM ANALYZE")
  await run(Effect.flatMap(Poller.Poller, (poller) => poller.register("BENCH", { from: "beginning" })))
  let position = 0
  const acknowledged = () => bare.query("UPDATE evt_consumers SET last_evt_id = ?", [position])
  return compare({
    workload: "discard",
    db: backend,
    rounds,
    ours: {
      name: "Discarder.once",
      run: async () => {
        position += each
        await acknowledged()
        const { deleted } = await once(subject)
        if (deleted !== each) throw new Error(`deleted ${deleted} instead of ${each}`)
        return each
      }
    },
    others: [{
      name: `bare-driver DELETE of ${batch} at a time`,
      target: 0.5,
      run: async () => {
        for (let i = 0; i < each / batch; i++) {
          await bare.query("DELETE FROM evt_log WHERE id > ? AND id <= ?", [position, position + batch])
          position += batch
        }
        await bare.query("UPDATE evt_retention SET discarded_to = ?", [position])
        return each
      }
    }]
  })
}

const writers = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend, bare, run } = subject
  const backlog = quick ? 50_000 : 400_000
  const count = quick ? 500 : backend === "sqlite" ? 5000 : 2000
  await fill(subject, backlog)
  if (backend === "postgres") await bare.query("VACUUM ANALYZE")
  await bare.query("UPDATE evt_consumers SET last_evt_id = ?", [1_000_000_000])
  const emit = Effect.flatMap(
    services,
    ({ generator }) => generator.transaction(generator.emit(Happened, { n: 1, text }))
  )
  const write = Effect.forEach(Array.from({ length: count }), () => emit, {
    concurrency: backend === "sqlite" ? 1 : 16,
    discard: true
  })
  const left = async () => Number((await bare.query("SELECT COUNT(*) AS n FROM evt_log"))[0].n)
  // counting takes InnoDB long: before and after everything
  const before = await left()
  let written = 0
  const figures = await compare({
    workload: "discard",
    db: backend,
    rounds: quick ? 3 : 7,
    ours: {
      name: "transactions with emit, a discarder at work",
      run: async () => {
        await run(Effect.gen(function*() {
          const { run } = yield* Discarder.Discarder
          const fiber = yield* Effect.fork(run({ ...options, schedule: Schedule.spaced("10 millis") }))
          yield* write
          yield* Fiber.interrupt(fiber)
        }))
        written += count
        return count
      }
    },
    others: [{
      name: "the same without",
      target: 0.8,
      run: async () => {
        await run(write)
        written += count
        return count
      }
    }]
  })
  const after = await left()
  console.log(`${backend}: ${before + written - after} events were discarded meanwhile; ${after} are left`)
  return figures
}

export const discard = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => [
  ...await speed(subject, quick),
  ...await writers(subject, quick)
]
