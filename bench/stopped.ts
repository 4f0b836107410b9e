/**
 * A hundred subscribers, one of which stands still: what the others get a second, with it and without it, and what the
 * process keeps in memory. Memory is read in a process of its own for each.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Delivery } from "../src/index.js"
import { fill } from "./drain.js"
import { readAll } from "./fanOut.js"
import { compare, type Figure } from "./harness.js"
import { readInChild, readWhile } from "./memory.js"
import { Happened, services, type Subject } from "./subject.js"

const others = 99

let consumers = 0

/** Ninety-nine new consumers read and acknowledge everything that is there; how many deliveries that were. */
const deliver = (
  subject: Subject,
  count: number,
  hundredth: "absent" | "stopped",
  onBatch: () => void = () => {}
): Promise<number> =>
  subject.run(Effect.scoped(Effect.gen(function*() {
    const { pusher } = yield* services
    if (hundredth === "stopped") {
      const reached = yield* Effect.makeLatch(false)
      yield* Effect.forkScoped(
        pusher.subscribe(`H${++consumers}`, { want: [Happened], register: {} }).pipe(
          Delivery.handle(() => Effect.zipRight(reached.open, Effect.never)),
          Stream.runDrain
        )
      )
      yield* reached.await
    }
    return yield* readAll(count, others, onBatch)
  })))

const eventsOf = (quick: boolean) => quick ? 10_000 : 50_000

/** In the child: `count` is how many of the hundred stand still. */
export const readStopped = async (subject: Subject, count: number, quick: boolean) => {
  await fill(subject, eventsOf(quick))
  globalThis.gc!()
  await readWhile((sample) => deliver(subject, eventsOf(quick), count === 0 ? "absent" : "stopped", sample))
}

export const stopped = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend } = subject
  const count = eventsOf(quick)
  await fill(subject, count)
  if (backend === "postgres") await subject.bare.query("ANALYZE")
  const figures = await compare({
    workload: "stopped",
    db: backend,
    rounds: quick ? 3 : 5,
    ours: { name: "99 subscribers beside a stopped one, deliveries", run: () => deliver(subject, count, "stopped") },
    others: [{ name: "99 subscribers", target: 0.9, run: () => deliver(subject, count, "absent") }]
  })
  const flags = quick ? ["--quick"] : []
  const without = readInChild("stopped-child", backend, 0, flags)
  const beside = readInChild("stopped-child", backend, 1, flags)
  const figure = (name: string, of: "peakHeap" | "rss"): Figure => {
    const ratio = Number((beside[of] / without[of]).toFixed(2))
    const size = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
    return {
      workload: "stopped",
      db: backend,
      figure: `${name}, one of them stopped (${size(beside[of])})`,
      ratio,
      of: `99 subscribers (${size(without[of])})`,
      spread: [ratio, ratio],
      perSecond: 0,
      target: undefined
    }
  }
  return [...figures, figure("peak heap", "peakHeap"), figure("peak RSS", "rss")]
}
