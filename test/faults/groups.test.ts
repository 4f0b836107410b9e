/** Members of a group are killed, stopped and restarted: nothing is lost, the order of each key holds, all is owned again. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { EventType, Generator } from "../../src/index.js"
import { keyHash } from "../../src/internal/keyHash.js"
import { servers } from "../support/backends.js"
import { type Child, spawnTs } from "../support/child.js"
import { onEach, services } from "../support/stream.js"
import { full, rounds } from "./rounds.js"

const Keyed = EventType.make("KEYED", Schema.Struct({ key: Schema.String, n: Schema.Int }), { key: ({ key }) => key })

const memberFile = fileURLToPath(new URL("./groupMember.ts", import.meta.url))
const ttl = 2000
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
const report = (text: string) => void process.stderr.write(`${text}\n`)

const until = async (what: string, condition: () => Promise<boolean> | boolean, patience = 90_000) => {
  const end = Date.now() + patience
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${patience} ms`)
    await sleep(50)
  }
}

/** By which name it is a member; undefined before it has joined. */
const memberOf = (child: Child): string | undefined =>
  child.messages.map(({ log }) => /^local:C: ([0-9a-f]+) has joined/.exec(log ?? "")?.[1])
    .filter((name) => name !== undefined).pop()

onEach("Members of a group", ({ backend, db, prefix, run }) => {
  const partitions = 8

  /** A stream with a consumer `C`, members that are started one by one, and what is seen from outside. */
  const group = async (mode: "atLeastOnce" | "exactlyOnce", millis: number) => {
    const p = prefix()
    const members: Array<Child> = []
    const all: Array<Child> = []
    const start = () => {
      const child = spawnTs(memberFile, [db().url, p, mode, String(partitions), String(millis), String(ttl)])
      all.push(child)
      members.push(child)
      return child
    }
    const end = async (child: Child, signal: "SIGKILL" | "SIGTERM") => {
      members.splice(members.indexOf(child), 1)
      child.kill(signal)
      await child.exited
    }
    await run(
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { poller } = yield* services
        const id = { sqlite: "INTEGER PRIMARY KEY AUTOINCREMENT", postgres: "bigserial", mysql: "SERIAL" }[backend]
        yield* sql.unsafe(`CREATE TABLE ${p}effects (id ${id}, n INTEGER NOT NULL, event_key VARCHAR(20) NOT NULL)`)
        yield* poller.register("C")
      }),
      { prefix: p }
    )
    /** Asks again and again on one client, until it is closed. */
    let stopped = false
    let info: any
    let sent = 0
    let owed: Array<ReturnType<typeof Generator.event>> = []
    const watching = run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        while (!stopped) {
          const now = owed
          owed = []
          for (let i = 0; i < now.length; i += 500) yield* generator.addAll(now.slice(i, i + 500) as any)
          sent += now.length
          info = (yield* consumers.list)[0]
          yield* Effect.sleep(30)
        }
      }),
      { prefix: p }
    )
    const owners = (): ReadonlyArray<string | undefined> =>
      (info?.partitions ?? []).map((one: any) => one.owner?.member)
    const handled = () =>
      all.flatMap((child, i) =>
        child.messages.flatMap(({ age, at, handled }) => handled === undefined ? [] : [{ i, at, age, handled }])
      ).sort((a, b) => a.at - b.at)
    return {
      p,
      start,
      end,
      members,
      all,
      owners,
      handled,
      emit: (events: ReadonlyArray<{ readonly key: string; readonly n: number }>) =>
        void owed.push(...events.map((data) => Generator.event(Keyed, data))),
      /** Everything is acknowledged. */
      drained: (total: number, patience?: number) =>
        until(
          `${total} events`,
          () => sent >= total && info?.lag.events === 0 && Number(info?.cursor ?? 0) >= total,
          patience
        ),
      /** All partitions are with members that live. */
      owned: (patience?: number) =>
        until("all partitions have owners that live", () => {
          const living = members.map(memberOf)
          const now = owners()
          return now.length === partitions && now.every((owner) => owner !== undefined && living.includes(owner))
        }, patience),
      shared: (n: number) =>
        until(`shared by ${n}`, () => {
          const counts = members.map(memberOf).map((name) => owners().filter((owner) => owner === name).length)
          return counts.length === n && Math.max(...counts) - Math.min(...counts) <= 1 &&
            counts.reduce((sum, count) => sum + count, 0) === partitions
        }),
      effects: async () =>
        (await db().query(`SELECT n, event_key FROM ${p}effects ORDER BY id`)).map((row) => ({
          n: Number(row.n),
          key: String(row.event_key)
        })),
      close: async () => {
        stopped = true
        for (const child of members.slice()) {
          child.kill("SIGCONT")
          await end(child, "SIGKILL")
        }
        await watching
      }
    }
  }

  /** Of each key in the order of `n`, repeats left out. */
  const firstsInOrder = (list: ReadonlyArray<{ readonly key: string; readonly n: number }>) => {
    const seen = new Set<number>()
    const last = new Map<string, number>()
    for (const { key, n } of list) {
      if (seen.has(n)) continue
      seen.add(n)
      expect(n, `of key ${key}`).toBeGreaterThan(last.get(key) ?? -1)
      last.set(key, n)
    }
    return seen.size
  }

  const events = (count: number, keys: number, from = 0) =>
    Array.from({ length: count }, (_, i) => ({ key: `k${(from + i) % keys}`, n: from + i }))

  /** Three members, one of which is killed and started again every second. */
  const killing = async (g: Awaited<ReturnType<typeof group>>, total: number, seconds: number) => {
    for (let i = 0; i < 3; i++) g.start()
    await g.shared(3)
    const took: Array<number> = []
    // on a busy machine a member takes longer than a second to start
    for (let second = 0; second < seconds || took.length < 2; second++) {
      if (second < seconds) g.emit(events(total / seconds, 500, second * (total / seconds)))
      const ready = g.members.filter((child) => memberOf(child) !== undefined)
      const before = Date.now()
      if (ready.length === 3 || (full && ready.length === 2)) {
        await g.end(ready[Math.floor(Math.random() * ready.length)]!, "SIGKILL")
        const killed = Date.now()
        g.start()
        await g.owned()
        took.push(Date.now() - killed)
      }
      await sleep(Math.max(0, 1000 - (Date.now() - before)))
    }
    took.sort((a, b) => a - b)
    report(
      `${backend}: ${took.length} members killed; all partitions owned again after ${took[took.length >> 1]} ms` +
        ` (median), ${took[took.length - 1]} ms (longest); the lease time is ${ttl} ms`
    )
    return took
  }

  it("one killed every second: nothing is lost, the order of each key holds, all is owned again soon", async () => {
    const seconds = rounds(5, 60)
    const total = Math.floor(rounds(4000, 50_000) / seconds) * seconds
    const g = await group("atLeastOnce", 1)
    try {
      const took = await killing(g, total, seconds)
      await g.drained(total, 120_000)
      const handled = g.handled().flatMap(({ handled }) => handled.map(([key, n]: [string, number]) => ({ key, n })))
      expect(firstsInOrder(handled)).toBe(total)
      expect(took.length).toBeGreaterThan(0)
      // a machine that has nothing else to do
      if (full) expect(took[took.length >> 1]).toBeLessThan(2 * ttl)
    } finally {
      await g.close()
    }
  })

  it("the same with exactlyOnce: every event takes effect once, in order by key", async () => {
    const seconds = rounds(5, 60)
    const total = Math.floor(rounds(4000, 50_000) / seconds) * seconds
    const g = await group("exactlyOnce", 1)
    try {
      await killing(g, total, seconds)
      await g.drained(total, 120_000)
      const effects = await g.effects()
      expect(effects.length).toBe(total)
      expect(firstsInOrder(effects)).toBe(total)
    } finally {
      await g.close()
    }
  })

  for (const mode of ["atLeastOnce", "exactlyOnce"] as const) {
    // with exactlyOnce a file is locked by the transaction that is stopped: nobody could take over
    if (backend === "sqlite" && mode === "exactlyOnce") continue
    it(`stopped past its lease and continued it changes nothing any more, and says so (${mode})`, async () => {
      const g = await group(mode, 5)
      try {
        const stopped = g.start()
        await g.shared(1)
        g.emit(events(400, 40))
        // in its handlers: with exactlyOnce one that is stopped between its last statement and its COMMIT keeps its rows locked
        await stopped.message((message) => message === "handling")
        stopped.kill("SIGSTOP")
        const other = g.start()
        await until("taken over", () => {
          const name = memberOf(other)
          return name !== undefined && g.owners().length === partitions && g.owners().every((owner) => owner === name)
        })
        await other.message(({ log }) => /took over from [0-9a-f]{16}/.test(log ?? ""))
        await g.drained(400)
        const at = stopped.messages.length
        stopped.kill("SIGCONT")
        await stopped.message(({ log }) => /local:C#\d+: .*has lost it/.test(log ?? ""))
        // it is a member again, with a share of what is new
        await g.shared(2)
        g.emit(events(400, 40, 400))
        await g.drained(800)
        const late = stopped.messages.slice(at).flatMap(({ handled }) => handled ?? []) as ReadonlyArray<
          [string, number]
        >
        if (mode === "exactlyOnce") {
          const effects = await g.effects()
          expect(effects.length).toBe(800)
          expect(firstsInOrder(effects)).toBe(800)
        } else {
          // the batches in hand were finished, and refused
          expect(late.filter(([, n]) => n < 400).length).toBeLessThanOrEqual(50 * partitions)
          const others = other.messages.flatMap(({ handled }) => handled ?? []) as ReadonlyArray<[string, number]>
          const acknowledged = stopped.messages.slice(0, at).flatMap(({ handled }) => handled ?? []).map(
            ([, n]: [string, number]) => n
          )
          expect(new Set([...acknowledged, ...others.map(([, n]) => n), ...late.map(([, n]) => n)]).size).toBe(800)
          // nothing that the other one has had comes again to it
          const numbers = others.map(([, n]) => n)
          expect(new Set(numbers).size).toBe(numbers.length)
        }
      } finally {
        await g.close()
      }
    })
  }

  it("restarted one after another under load: an event waits for the hand-over of its partition, not longer", async () => {
    const g = await group("atLeastOnce", 1)
    let n = 0
    let emitting: NodeJS.Timeout | undefined
    try {
      for (let i = 0; i < 3; i++) g.start()
      await g.shared(3)
      emitting = setInterval(() => {
        g.emit(events(20, 100, n))
        n += 20
      }, 100)
      for (const child of g.members.slice()) {
        await g.end(child, "SIGTERM")
        expect(child.messages[child.messages.length - 1]).toBe("ended")
        g.start()
        await g.shared(3)
      }
      await sleep(500)
      clearInterval(emitting)
      await g.drained(n)
      const ages = g.handled().map(({ age }) => age).sort((a: number, b: number) => a - b)
      report(
        `${backend}: three members restarted; events waited ${ages[ages.length >> 1]} ms (median),` +
          ` ${ages[Math.floor(ages.length * 0.99)]} ms (p99), ${ages[ages.length - 1]} ms (longest)`
      )
      const handled = g.handled().flatMap(({ handled }) => handled.map(([key, n]: [string, number]) => ({ key, n })))
      expect(firstsInOrder(handled)).toBe(n)
      // whoever ended has acknowledged what it had handled
      expect(handled.length).toBe(n)
      if (full) expect(ages[ages.length - 1]).toBeLessThan(10_000)
    } finally {
      clearInterval(emitting)
      await g.close()
    }
  })

  it("one key has half of all events: keys of other partitions are not held back", async () => {
    const g = await group("atLeastOnce", 1)
    try {
      for (let i = 0; i < 3; i++) g.start()
      await g.shared(3)
      const total = rounds(1600, 8000)
      g.emit(Array.from({ length: total }, (_, n) => ({ key: n % 2 === 0 ? "slow" : `k${n % 301}`, n })))
      const slow = keyHash("slow") % partitions
      const isOther = (key: string) => keyHash(key) % partitions !== slow
      const others = Array.from({ length: total }, (_, n) => n).filter((n) => n % 2 === 1 && isOther(`k${n % 301}`))
      const flat = () => g.handled().flatMap(({ handled }) => handled as ReadonlyArray<[string, number]>)
      await until(
        "the others",
        () => new Set(flat().filter(([key]) => isOther(key)).map(([, n]) => n)).size === others.length
      )
      const left = total / 2 - flat().filter(([key]) => key === "slow").length
      report(`${backend}: all other keys handled while ${left} of ${total / 2} events of the slow one were left`)
      expect(left).toBeGreaterThan(total / 4)
    } finally {
      await g.close()
    }
  })
}, { backends: [...new Set(["sqlite" as const, ...servers])] })
