/** Ten reliable subscribers against one: deliveries a second, and how often the log is read. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Delivery } from "../src/index.js"
import { fill } from "./drain.js"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject } from "./subject.js"

let consumers = 0

/** `subscribers` new consumers read and acknowledge everything that is there; how many deliveries that were. */
export const readAll = (count: number, subscribers: number, onBatch: () => void = () => {}) =>
  Effect.gen(function*() {
    const { poller, pusher } = yield* services
    const names = Array.from({ length: subscribers }, () => `S${++consumers}`)
    yield* Effect.forEach(names, (name) => poller.register(name), { discard: true })
    const one = (name: string) => {
      let handled = 0
      return pusher.subscribe(name, { want: [Happened] }).pipe(
        Delivery.handle((events) =>
          Effect.sync(() => {
            handled += events.length
            onBatch()
          })
        ),
        Stream.takeUntil(() => handled >= count),
        Stream.runDrain
      )
    }
    yield* Effect.forEach(names, one, { concurrency: "unbounded", discard: true })
    return count * subscribers
  })

export const subscribeOnce = (subject: Subject, count: number, subscribers: number): Promise<number> =>
  subject.run(readAll(count, subscribers))

/** How many rows were read in the order of an index, which only pages of the log are; where the server counts them. */
const reads = async ({ backend, bare }: Subject): Promise<number | undefined> => {
  if (backend !== "mysql") return undefined
  const [row] = await bare.query("SHOW GLOBAL STATUS LIKE 'Handler_read_next'")
  return Number(row.Value)
}

export const fanOut = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const count = quick ? 50_000 : 200_000
  await fill(subject, count)
  if (subject.backend === "postgres") await subject.bare.query("ANALYZE")
  const figures = await compare({
    workload: "fan-out",
    db: subject.backend,
    rounds: quick ? 3 : 5,
    ours: { name: "10 subscribers, deliveries", run: () => subscribeOnce(subject, count, 10) },
    others: [{ name: "1 subscriber", target: 5, run: () => subscribeOnce(subject, count, 1) }]
  })
  const before = await reads(subject)
  if (before === undefined) return figures
  await subscribeOnce(subject, count, 1)
  const one = (await reads(subject))! - before
  await subscribeOnce(subject, count, 10)
  const ten = (await reads(subject))! - before - one
  const ratio = Number((ten / one).toFixed(2))
  return [...figures, {
    workload: "fan-out",
    db: subject.backend,
    figure: "10 subscribers, rows read of the log",
    ratio,
    of: "1 subscriber",
    spread: [ratio, ratio],
    perSecond: 0,
    target: undefined,
    atMost: 1.2
  }]
}
