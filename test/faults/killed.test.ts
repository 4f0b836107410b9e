/** SIGKILL at any moment, so between any two statements of emit, sequence, add and cursor commit. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { spawnTs } from "../support/child.js"
import { onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"
import { Done } from "./worker.js"

const workerFile = fileURLToPath(new URL("./worker.ts", import.meta.url))

onEach("Killed anywhere", ({ db, prefix, run }) => {
  it("nothing is lost, nothing is doubled, and what repeats was not acknowledged", async () => {
    const p = prefix()
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { poller } = yield* services
        yield* poller.register("WORKER")
        yield* sql.unsafe(`CREATE TABLE ${p}ledger (id VARCHAR(60) PRIMARY KEY)`)
      }),
      { prefix: p }
    )
    const added = new Map<string, string>()
    const handled: Array<ReadonlyArray<string>> = []
    for (let round = 0; round < rounds(5, 50); round++) {
      const child = spawnTs(workerFile, [db().url, p, `r${round}`])
      await child.message((message) => message === "ready")
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 400))
      child.kill("SIGKILL")
      await child.exited
      let batch = 0
      for (const message of child.messages) {
        if (message.added !== undefined) added.set(message.added, message.id)
        if (message.handled === undefined) continue
        handled.push(message.handled)
        // only the first batch after a restart may have been seen before
        const again = message.handled.filter((key: string) => handled.slice(0, -1).some((keys) => keys.includes(key)))
        if (batch++ > 0) expect(again).toEqual([])
      }
    }
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { poller } = yield* services
        const ledger = yield* sql.unsafe<{ id: string }>(`SELECT id FROM ${p}ledger`)
        const log: Array<{ key: string; id: string }> = []
        let lastId: bigint | undefined
        while (true) {
          const batch = yield* poller.poll("LIVE", { want: [Done], ...(lastId === undefined ? {} : { lastId }) })
          if (batch.events.length === 0) break
          for (const e of batch.events) if (e._tag === "Known") log.push({ key: e.data.key, id: e.id.toString() })
          lastId = batch.upTo
        }
        const byKey = new Map(log.map(({ id, key }) => [key, id]))
        // each event once
        expect(byKey.size).toBe(log.length)
        // emitted: exactly what committed
        const emitted = log.filter(({ key }) => key.includes("emit")).map(({ key }) => key).sort()
        expect(emitted).toEqual(ledger.map(({ id }) => id).sort())
        // added: everything that was answered, with the id that was answered
        for (const [key, id] of added) expect([key, byKey.get(key)]).toEqual([key, id])
        expect(added.size).toBeGreaterThan(5)
        // consumed: a prefix of the log, each event at least once, in order
        const order = new Map(log.map(({ key }, i) => [key, i]))
        const firsts = [...new Set(handled.flat())]
        expect(firsts.map((key) => order.get(key))).toEqual(firsts.map((_, i) => i))
        // and the rest is still there for it
        const rest: Array<string> = []
        let from: bigint | undefined
        while (true) {
          const batch = yield* poller.poll("WORKER", { want: [Done], ...(from === undefined ? {} : { lastId: from }) })
          if (batch.events.length === 0) break
          for (const e of batch.events) if (e._tag === "Known") rest.push(e.data.key)
          from = batch.upTo
        }
        expect(new Set([...firsts, ...rest]).size).toBe(log.length)
        console.log(`${log.length} events, ${added.size} adds answered, ${handled.length} batches handled`)
      }),
      { prefix: p }
    )
  })
})
