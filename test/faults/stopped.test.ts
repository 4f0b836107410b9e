/**
 * A process that sequences is stopped (SIGSTOP) at any moment, as a paused machine or a swapped-out one would be. No lock
 * may be held while it has the next move: the others go on.
 */
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { servers } from "../support/backends.js"
import { spawnTs } from "../support/child.js"
import { Gone, onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"

const sequencerFile = fileURLToPath(new URL("./sequencer.ts", import.meta.url))

onEach("A stopped process delays nobody", ({ db, prefix, run }) => {
  it("the others go on within a second, wherever it was stopped", async () => {
    const p = prefix()
    await run(Effect.void, { prefix: p })
    const child = spawnTs(sequencerFile, [db().url, p])
    await child.message(() => true)
    try {
      const worst = await run(
        Effect.gen(function*() {
          const { generator, poller } = yield* services
          let id = 0
          let lastId: bigint | undefined
          let worst = 0
          /** How long an event takes from its commit to a poll. */
          const roundTrip = Effect.gen(function*() {
            const n = ++id
            yield* generator.transaction(generator.emit(Gone, { id: n }))
            const committed = Date.now()
            while (true) {
              const batch = yield* poller.poll("LIVE", { want: [Gone], ...(lastId === undefined ? {} : { lastId }) })
              lastId = batch.upTo
              const found = batch.events.some((event) => event._tag === "Known" && event.data.id === n)
              if (found) return void (worst = Math.max(worst, Date.now() - committed))
            }
          })
          for (let round = 0; round < rounds(25, 200); round++) {
            // the child is kept busy, then stopped somewhere in the middle of it
            yield* Effect.all(
              Array.from({ length: 20 }, () => generator.transaction(generator.emit(Gone, { id: -1 }))),
              { concurrency: 4 }
            )
            yield* Effect.sleep(Math.random() * 10)
            child.kill("SIGSTOP")
            for (let i = 0; i < 3; i++) yield* roundTrip
            if (round === 0) {
              const until = Date.now() + rounds(3000, 30_000)
              while (Date.now() < until) yield* roundTrip
            }
            child.kill("SIGCONT")
          }
          // add needs the head, too
          child.kill("SIGSTOP")
          const before = Date.now()
          yield* generator.add(Gone, { id: 0 })
          return Math.max(worst, Date.now() - before)
        }),
        { prefix: p, sequencer: "off" }
      )
      console.log(`slowest event while a sequencing process was stopped: ${worst} ms`)
      expect(worst).toBeLessThan(1000)
    } finally {
      child.kill("SIGKILL")
      await child.exited
    }
  })
}, { backends: servers })
