/** A receiver that parks keys is killed while they are parked and redriven. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { EventType, Generator } from "../../src/index.js"
import { servers } from "../support/backends.js"
import { spawnTs } from "../support/child.js"
import { onEach, services } from "../support/stream.js"
import { rounds } from "./rounds.js"

const parkerFile = fileURLToPath(new URL("./parker.ts", import.meta.url))
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
const keys = ["a", "b", "c", "d", "e"]

const counter = {
  sqlite: "INTEGER PRIMARY KEY AUTOINCREMENT",
  postgres: "BIGINT GENERATED ALWAYS AS IDENTITY",
  mysql: "BIGINT AUTO_INCREMENT PRIMARY KEY"
}

// as parker.ts declares it, which runs by itself
const Step = EventType.make("STEP", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

onEach("A receiver that parks keys", ({ backend, db, prefix, run }) => {
  it.each(["atLeastOnce", "exactlyOnce"] as const)(
    "killed anywhere while events are parked and redriven: nothing is lost, the order of each key holds (%s)",
    async (mode) => {
      const p = prefix()
      await run(
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const { poller } = yield* services
          yield* poller.register("R")
          yield* sql.unsafe(`CREATE TABLE ${p}broken (k VARCHAR(10) NOT NULL, n INTEGER NOT NULL)`)
          yield* sql.unsafe(
            `CREATE TABLE ${p}effects (seq ${counter[backend]}, k VARCHAR(10) NOT NULL, n INTEGER NOT NULL)`
          )
        }),
        { prefix: p }
      )
      let stopped = false
      let total = 0
      const seen = { redriven: 0 }
      /** Emits, breaks and repairs some events on the way, and redrives. */
      const world = run(
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const { consumers, generator } = yield* services
          let broken: string | undefined
          let inVain = false
          while (!stopped) {
            if (broken === undefined) {
              broken = keys[seen.redriven % keys.length]!
              yield* sql.unsafe(`INSERT INTO ${p}broken VALUES ('${broken}', ${total + 1})`)
            } else if ((yield* consumers.deadLetters("R", { key: broken })).length > 1) {
              // every second time it fails once more
              inVain = !inVain
              if (!inVain) {
                yield* sql.unsafe(`DELETE FROM ${p}broken`)
                broken = undefined
              }
              yield* consumers.redrive("R", inVain ? { key: broken! } : "all")
              seen.redriven++
            }
            total++
            yield* generator.addAll(keys.map((key) => Generator.event(Step, { key, n: total })))
            yield* Effect.sleep(40)
          }
          yield* sql.unsafe(`DELETE FROM ${p}broken`)
        }),
        { prefix: p }
      )
      for (let round = 0; round < rounds(3, 40); round++) {
        const child = spawnTs(parkerFile, [db().url, p, mode])
        await child.message((message) => message === "ready")
        // the lease of the one before runs out first
        await sleep(1000 + Math.random() * 1500)
        child.kill("SIGKILL")
        await child.exited
      }
      stopped = true
      await world
      const last = spawnTs(parkerFile, [db().url, p, mode])
      try {
        await run(
          Effect.retry(
            Effect.gen(function*() {
              const { consumers, poller } = yield* services
              const left = (yield* poller.poll("R")).events.length + (yield* consumers.deadLetters("R")).length
              if (left > 0) {
                yield* consumers.redrive("R")
                yield* Effect.fail("not yet" as const)
              }
            }),
            Schedule.spaced("1 second")
          ).pipe(Effect.timeout("60 seconds")),
          { prefix: p }
        )
      } finally {
        last.kill("SIGKILL")
        await last.exited
      }
      // that is what is tested
      expect(seen.redriven).toBeGreaterThan(0)
      const rows = await db().query(`SELECT k, n FROM ${p}effects ORDER BY seq`)
      const expected = Array.from({ length: total }, (_, i) => i + 1)
      for (const key of keys) {
        const all = rows.filter((row) => row.k === key).map((row) => Number(row.n))
        if (mode === "exactlyOnce") expect(all.length).toBe(total)
        // each for the first time
        expect([...new Set(all)]).toEqual(expected)
      }
    }
  )
}, { backends: [...new Set(["sqlite" as const, ...servers])] })
