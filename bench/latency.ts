/** From the COMMIT's answer to the handler, 50 events a second, in one process; and what a minute of silence costs. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

const at = (sorted: ReadonlyArray<number>, share: number) => sorted[Math.floor((sorted.length - 1) * share)]!

export const latency = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const count = quick ? 200 : 1500
  const committed: Array<number> = []
  const begun: Array<number> = []
  const handled: Array<number> = []
  await subject.run(Effect.gen(function*() {
    const { generator, pusher } = yield* services
    const fiber = yield* Effect.fork(
      pusher.run("LATENCY", (event) =>
        Effect.sync(() => {
          if (event._tag === "Known") handled[event.data.n] = performance.now()
        }), { want: [Happened], register: {} })
    )
    yield* Effect.sleep(500)
    for (let n = 0; n < count; n++) {
      begun[n] = performance.now()
      yield* generator.transaction(generator.emit(Happened, { n, text }))
      committed[n] = performance.now()
      yield* Effect.sleep(20)
    }
    while (handled.length < count) yield* Effect.sleep(10)
    yield* Fiber.interrupt(fiber)
  }))
  const figure = (name: string, from: ReadonlyArray<number>, atMost: readonly [number, number] | undefined) => {
    // the first are those of a cold process
    const sorted = handled.map((end, n) => end - from[n]!).slice(50).sort((a, b) => a - b)
    return [0.5, 0.99].map((share, i): Figure => ({
      workload: "latency",
      db: subject.backend,
      figure: `${name} to handler, p${share * 100} in ms`,
      ratio: Number(at(sorted, share).toFixed(2)),
      of: "",
      spread: [Number(at(sorted, 0).toFixed(2)), Number(at(sorted, 1).toFixed(2))],
      perSecond: 50,
      target: undefined,
      atMost: atMost?.[i]
    }))
  }
  return [...figure("COMMIT", committed, [5, 20]), ...figure("BEGIN", begun, undefined)]
}

/** Queries of other sessions in the database, as the server counts them. */
const counter = ({ backend, bare }: Subject): (() => Promise<number>) | undefined => {
  if (backend === "postgres") {
    // statistics of the database itself: each of our statements is a transaction of its own
    return async () => {
      const [row] = await bare.query(
        "SELECT xact_commit + xact_rollback AS n FROM pg_stat_database WHERE datname = current_database()"
      )
      return Number(row.n)
    }
  }
  if (backend === "mysql") {
    return async () => {
      const rows = await bare.query("SHOW GLOBAL STATUS LIKE 'Questions'")
      return rows.reduce((sum, row) => sum + Number(row.Value), 0)
    }
  }
  return undefined
}

export const idle = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const count = counter(subject)
  if (count === undefined) {
    console.log("SQLite has no server that counts: not measured")
    return []
  }
  const seconds = quick ? 10 : 60
  const queries = await subject.run(Effect.gen(function*() {
    const { generator, pusher } = yield* services
    const fiber = yield* Effect.fork(
      pusher.run("IDLE", () => Effect.void, { want: [Happened], register: {} })
    )
    yield* generator.add(Happened, { n: 0, text })
    yield* Effect.sleep("15 seconds")
    const before = yield* Effect.promise(count)
    yield* Effect.sleep(seconds * 1000)
    const after = yield* Effect.promise(count)
    yield* Fiber.interrupt(fiber)
    return after - before
  }))
  const perSecond = Number((queries / seconds).toFixed(2))
  return [{
    workload: "idle",
    db: subject.backend,
    figure: "queries a second, sequencer and one consumer, leases included",
    ratio: perSecond,
    of: "",
    spread: [perSecond, perSecond],
    perSecond: 0,
    target: undefined,
    // one probe a second that serves both, and a renewal of the leases each 5 s: one transaction as PostgreSQL counts,
    // a packet of five statements as MariaDB does
    atMost: 2
  }]
}
