/**
 * Archiving a backlog into another database of the same kind, checks included, against a loop of the bare driver that
 * copies the rows in batches of the same size into a table with the same indexes.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { EventStream } from "../src/index.js"
import { createDatabase } from "../test/support/backends.js"
import { fill } from "./drain.js"
import { compare, type Figure } from "./harness.js"
import { bareOf, type Subject } from "./subject.js"

const columns = ["id", "uid", "type", "event_key", "key_hash", "meta", "data", "ts"]

const copyTable = {
  postgres: (name: string) =>
    `CREATE TABLE ${name} (generation integer, id bigint, uid text, type text, event_key text, key_hash bigint, meta text, data text, ts timestamptz(3), PRIMARY KEY (generation, id))`,
  mysql: (name: string) =>
    `CREATE TABLE ${name} (generation INT, id BIGINT, uid LONGTEXT, type LONGTEXT, event_key LONGTEXT, key_hash BIGINT, meta LONGTEXT, data LONGTEXT, ts DATETIME(3), PRIMARY KEY (generation, id)) CHARACTER SET utf8mb4`,
  sqlite: (name: string) =>
    `CREATE TABLE ${name} (generation INTEGER, id INTEGER, uid TEXT, type TEXT, event_key TEXT, key_hash INTEGER, meta TEXT, data TEXT, ts INTEGER, PRIMARY KEY (generation, id))`
}

export const archive = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  const { backend } = subject
  const count = quick ? 20_000 : 100_000
  await fill(subject, count)
  if (backend === "postgres") await subject.bare.query("ANALYZE")
  const history = await createDatabase(backend)
  const target = bareOf(backend, history.url, 4)
  let runs = 0

  // what is opened is opened before: tables are made once in the life of a history
  const scope = await Effect.runPromise(Scope.make())
  const open = () =>
    subject.run(Scope.extend(
      EventStream.make({
        history: { client: history.client(), prefix: `r${++runs}_`, migrate: "auto" },
        sequencer: "off"
      }),
      scope
    ))
  const ours = (limit: number, opened: Array<EventStream.Service>) => () =>
    subject.run(Effect.gen(function*() {
      const { archiver, poller } = opened.pop()!
      const { archived } = yield* archiver!.once({ limit })
      yield* poller.unregister("ARCHIVER")
      return archived
    }))

  const data = backend === "postgres"
    ? columns.map((name) => name === "meta" || name === "data" ? `${name}::text AS ${name}` : name)
    : columns
  const row = `(1, ${columns.map(() => "?").join(", ")})`
  const bare = (limit: number) => async () => {
    const name = `bare${++runs}`
    await target.query(copyTable[backend](name))
    await target.query(`CREATE INDEX ${name}_ts ON ${name} (ts, generation, id)`)
    let copied = 0
    let last: unknown = 0
    while (copied < count) {
      const rows = await subject.bare.query(
        `SELECT ${data.join(", ")} FROM evt_log WHERE id > ? ORDER BY id LIMIT ${limit}`,
        [last]
      )
      const text = `INSERT INTO ${name} (generation, ${columns.join(", ")}) VALUES ${rows.map(() => row).join(", ")}`
      await target.transaction(async (query) => {
        await query(text, rows.flatMap((row) => columns.map((name) => row[name])))
      })
      last = rows[rows.length - 1].id
      copied += rows.length
    }
    return copied
  }

  try {
    const figures: Array<Figure> = []
    const rounds = quick ? 3 : 5
    for (const limit of [100, 300, 1000]) {
      const opened: Array<EventStream.Service> = []
      while (opened.length < rounds + 1) opened.push(await open())
      figures.push(
        ...await compare({
          workload: "archive",
          db: backend,
          rounds,
          ours: { name: `archiver, batches of ${limit}`, run: ours(limit, opened) },
          others: [{ name: "bare-driver copy loop, the same batches", target: 0.4, run: bare(limit) }]
        })
      )
    }
    return figures
  } finally {
    await Effect.runPromise(Scope.close(scope, Exit.void))
    await target.close()
    await history.drop()
  }
}
