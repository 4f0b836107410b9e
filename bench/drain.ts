/** Reading a backlog: the Stream, with decoding and acknowledgement, against a bare loop of SELECTs on the same table. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Delivery, Generator } from "../src/index.js"
import { subscribeOnce } from "./fanOut.js"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

/** Puts `count` events into the log. */
export const fill = (subject: Subject, count: number): Promise<void> =>
  subject.run(Effect.gen(function*() {
    const { generator, sequencer } = yield* services
    for (let n = 0; n < count; n += 5000) {
      const events = Array.from({ length: 5000 }, (_, i) => Generator.event(Happened, { n: n + i, text }))
      yield* generator.transaction(generator.emitAll(events))
    }
    yield* sequencer.run
  }))

let consumers = 0

/** Drains `count` events as a new consumer; how many were handled. */
export const drainOnce = (subject: Subject, count: number, wanted: boolean): Promise<number> =>
  subject.run(Effect.gen(function*() {
    const { poller } = yield* services
    let handled = 0
    const from = { register: {} }
    const name = `D${++consumers}`
    const handle = Delivery.handle((events: ReadonlyArray<unknown>) =>
      Effect.sync(() => {
        handled += events.length
      })
    )
    yield* (wanted ? poller.stream(name, { ...from, want: [Happened] }) : poller.stream(name, from)).pipe(
      handle,
      Stream.takeUntil(() => handled >= count),
      Stream.runDrain
    )
    return handled
  }))

const filled = async (subject: Subject, count: number) => {
  await fill(subject, count)
  if (subject.backend === "postgres") await subject.bare.query("ANALYZE")
}

const bareDrain = ({ bare }: Subject, count: number) => async () => {
  let last: string | number = 0
  let handled = 0
  while (handled < count) {
    const rows = await bare.query(`SELECT * FROM evt_log WHERE id > ? ORDER BY id LIMIT 1000`, [last])
    for (const row of rows) {
      if (typeof row.data === "string") JSON.parse(row.data)
      handled++
    }
    last = rows[rows.length - 1].id
  }
  return handled
}

export const drain = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend } = subject
  const count = quick ? 20_000 : 200_000
  await filled(subject, count)
  const bareLoop = bareDrain(subject, count)
  const others = [{ name: "bare-driver SELECT … LIMIT 1000", target: 0.5, run: bareLoop }]
  const rounds = quick ? 3 : 5
  const shared = { workload: "drain", db: backend, others, rounds }
  return [
    ...await compare({ ...shared, ours: { name: "Stream, all types", run: () => drainOnce(subject, count, false) } }),
    ...await compare({
      ...shared,
      ours: { name: "Stream, one type decoded", run: () => drainOnce(subject, count, true) }
    })
  ]
}

export const drainAcknowledged = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const count = quick ? 20_000 : 200_000
  await filled(subject, count)
  return compare({
    workload: "drain-acknowledged",
    db: subject.backend,
    rounds: quick ? 3 : 5,
    ours: { name: "Pusher.subscribe, one type decoded", run: () => subscribeOnce(subject, count, 1) },
    others: [{ name: "bare-driver SELECT … LIMIT 1000", target: 0.4, run: bareDrain(subject, count) }]
  })
}
