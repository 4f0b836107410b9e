import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { withPrivate } from "../support/backends.js"
import { spawnTs } from "../support/child.js"
import { onEach } from "../support/stream.js"
import * as Chaos from "./chaos.js"
import { full, rounds } from "./rounds.js"

const sequencerFile = fileURLToPath(new URL("./sequencer.ts", import.meta.url))

const chaos = (options: Chaos.Options) => Effect.zipRight(Chaos.createTables(options.prefix), Chaos.run(options))

onEach("Nothing is lost, repeated or inverted", ({ backend, db, prefix, run }) => {
  it("with 32 writers of every kind; an open transaction delays only its own events", async () => {
    const p = prefix()
    const outcome = await run(
      chaos({
        backend,
        prefix: p,
        writers: 32,
        transactions: rounds(1500, 8000),
        longOpen: backend === "sqlite" ? 0 : 5000
      }),
      { prefix: p },
      { maxConnections: 40 }
    )
    console.log(backend, JSON.stringify(outcome))
    expect(outcome).toMatchObject(Chaos.perfect)
    expect(outcome.expected).toBeGreaterThan(1000)
    expect(outcome.rolledBack).toBeGreaterThan(10)
  })

  // nobody sequences in a file, and there is no connection to kill
  if (backend === "sqlite") return
  it("with three processes that sequence and a connection killed every 100 ms", async () => {
    const p = prefix()
    await run(Effect.void, { prefix: p })
    const children = Array.from({ length: 3 }, () => spawnTs(sequencerFile, [db().url, p]))
    await Promise.all(children.map((child) => child.message(() => true)))
    let kills = 0
    const killer = setInterval(() => void killOne().catch(() => {}), 100)
    const killOne = async () => {
      const victims = await db().query(
        backend === "postgres"
          ? `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND application_name <> 'evt-admin' ORDER BY random() LIMIT 1) v`
          : `SELECT ID AS id FROM information_schema.PROCESSLIST
               WHERE DB = DATABASE() AND ID <> CONNECTION_ID() ORDER BY RAND() LIMIT 1`
      )
      kills += victims.length
      if (backend === "mysql" && victims.length > 0) await db().query(`KILL ${victims[0].id}`)
    }
    try {
      const outcome = await run(
        chaos({ backend, prefix: p, writers: 16, transactions: rounds(800, 5000), longOpen: 0 }),
        { prefix: p, sequencer: "off" },
        { maxConnections: 24 }
      )
      console.log(backend, `${kills} kills`, JSON.stringify(outcome))
      expect(outcome).toMatchObject(Chaos.perfect)
      expect(kills).toBeGreaterThan(10)
    } finally {
      clearInterval(killer)
      for (const child of children) child.kill("SIGKILL")
      await Promise.all(children.map((child) => child.exited))
    }
  })
})

onEach("Nothing is lost, repeated or inverted with a default isolation of SERIALIZABLE", ({ backend, prefix, run }) => {
  it("with many writers of every kind", async () => {
    const p = prefix()
    const outcome = await run(
      chaos({ backend, prefix: p, writers: 16, transactions: rounds(600, 4000), longOpen: full ? 5000 : 0 }),
      { prefix: p },
      { maxConnections: 24 }
    )
    console.log(backend, "serializable", JSON.stringify(outcome))
    expect(outcome).toMatchObject(Chaos.perfect)
    expect(outcome.expected).toBeGreaterThan(100)
  })
}, { backends: withPrivate, serializable: true })
