/** The archiver is killed, cut off and doubled while events flow; the history ends complete, each event once. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { Generator } from "../../src/index.js"
import { Any, type Archive, archiving, both, type Places } from "../support/archive.js"
import { type Backend, backends } from "../support/backends.js"
import { spawnTs } from "../support/child.js"
import { startProxy } from "../support/proxy.js"
import { withDatabase } from "../support/suite.js"
import { rounds } from "./rounds.js"

const archiverFile = fileURLToPath(new URL("./archiver.ts", import.meta.url))
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))
const total = rounds(3000, 100_000)
const leaseTtl = { pusher: { leaseTtl: "1 second" } } as const

const pairs: ReadonlyArray<readonly [Backend, Backend]> = [
  ["sqlite", "sqlite"],
  ["postgres", "mysql"],
  ["mysql", "postgres"]
]
const available = pairs.filter((pair) => pair.every((backend) => backends.includes(backend)))

let prefixes = 0

describe.each(available)("The archiver from %s to %s", (a, h) => {
  const active = withDatabase(a)
  const history = withDatabase(h)
  const places = (): Places => ({
    active: active(),
    history: history(),
    prefix: `f${++prefixes}_`,
    options: leaseTtl
  })

  /** Adds events in batches of 50. */
  const flow = ({ generator }: Archive, count: number) =>
    Effect.gen(function*() {
      for (let n = 0; n < count; n += 50) {
        yield* generator.addAll(
          Array.from({ length: 50 }, (_, i) =>
            Generator.event(Any, { n: n + i, text: `"\\ 👍 ${n}` }, i % 3 === 0 ? { key: `k${i}` } : {}))
        )
        yield* Effect.sleep(count > 10_000 ? 1 : 20)
      }
    }).pipe(Effect.retry({ times: 100 }))

  const isWhole = async (where: Places, atLeast: number) => {
    const { archived, log } = await both(where)
    expect(log.length).toBeGreaterThanOrEqual(atLeast)
    expect(archived.length).toBe(log.length)
    expect(archived).toEqual(log)
  }

  it("killed anywhere, again and again: the history is complete, each event once", async () => {
    const where = places()
    let killed = 0
    await archiving(where, (service) =>
      Effect.gen(function*() {
        const writing = yield* Effect.fork(flow(service, total))
        const upTo: Array<number> = []
        for (let round = 0; round < rounds(4, 50); round++) {
          const child = spawnTs(archiverFile, [where.active.url, where.history.url, where.prefix])
          yield* Effect.promise(async () => {
            await child.message((message) => message.upTo !== undefined)
            await sleep(Math.random() * 300)
            child.kill("SIGKILL")
            await child.exited
          })
          killed++
          // the cursor never passes what the history holds: it might be discarded
          const { cursor = 0n } = yield* service.source.look
          expect((yield* service.history.last)?.id ?? 0n).toBeGreaterThanOrEqual(cursor)
          upTo.push(...child.messages.flatMap((message) => message.upTo === undefined ? [] : [Number(message.upTo)]))
          expect(child.messages.filter((message) => message.failed !== undefined)).toEqual([])
          if (writing.unsafePoll() !== null) yield* flow(service, 500)
        }
        yield* Fiber.join(writing)
        // what was said is what is there: it never goes back
        expect(upTo).toEqual([...upTo].sort((x, y) => x - y))
        yield* service.archiver.once()
        yield* service.archiver.verify
      }))
    expect(killed).toBeGreaterThan(3)
    await isWhole(where, total)
  })

  it("two started at once: one works, and the other one takes over when it is killed", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        const start = () => spawnTs(archiverFile, [where.active.url, where.history.url, where.prefix])
        const children = [start(), start()]
        yield* Effect.promise(() => Promise.all(children.map((child) => child.message((said) => said === "ready"))))
        yield* flow(service, 500)
        const works = (child: typeof children[number]) => child.messages.some((message) => message.upTo !== undefined)
        while (!children.some(works)) yield* Effect.sleep(20)
        yield* Effect.sleep(300)
        expect(children.filter(works)).toHaveLength(1)
        const first = children.find(works)!
        const second = children.find((child) => child !== first)!
        first.kill("SIGKILL")
        yield* flow(service, 500)
        yield* Effect.promise(() => second.message((message) => message.upTo === "1000"))
        second.kill("SIGKILL")
        yield* Effect.promise(() => second.exited)
        yield* service.archiver.verify
      }))
    await isWhole(where, 1000)
  })

  if (a === "sqlite" || h === "sqlite") return

  it("connections of both killed in turn: no defect, nothing missing", async () => {
    const where = places()
    await archiving(where, (service) =>
      Effect.gen(function*() {
        const archiver = yield* Effect.fork(service.archiver.run({ limit: 20 }))
        const writing = yield* Effect.fork(flow(service, rounds(1500, 20_000)))
        let kills = 0
        for (let turn = 0; writing.unsafePoll() === null; turn++) {
          yield* Effect.sleep(100)
          kills += yield* Effect.promise(() => (turn % 2 === 0 ? where.active : where.history).killConnections())
        }
        expect(kills).toBeGreaterThan(0)
        expect(archiver.unsafePoll()).toBeNull()
        yield* Fiber.join(writing)
        yield* Fiber.interrupt(archiver)
        yield* service.archiver.once()
        yield* service.archiver.verify
      }))
    await isWhole(where, rounds(1500, 20_000))
  })

  it("the server of the history cannot be reached for 5 s: it goes on by itself, and can be ended meanwhile", async () => {
    const { hostname, port } = new URL(history().url)
    const proxy = await startProxy({ host: hostname, port: Number(port || (h === "mysql" ? 3306 : 5432)) })
    const where = { ...places(), clients: { history: { port: proxy.port } } }
    try {
      await archiving(where, (service) =>
        Effect.gen(function*() {
          let upTo = 0n
          const archiver = yield* Effect.fork(Stream.runForEach(service.archiver.progress({ limit: 50 }), (progress) =>
            Effect.sync(() => {
              upTo = progress.upTo ?? 0n
            })))
          yield* flow(service, 500)
          while (upTo < 500n) {
            yield* Effect.sleep(20)
          }
          proxy.accept(false)
          proxy.cutAll()
          yield* flow(service, 500)
          yield* Effect.sleep(5000)
          const during = upTo
          expect(during).toBeLessThan(1000n)
          expect(archiver.unsafePoll()).toBeNull()
          proxy.accept(true)
          while (upTo < 1000n) {
            yield* Effect.sleep(20)
          }
          // interrupted while it cannot write
          proxy.accept(false)
          proxy.cutAll()
          yield* flow(service, 500)
          yield* Effect.sleep(500)
          yield* Fiber.interrupt(archiver)
          proxy.accept(true)
          yield* service.archiver.once()
          yield* service.archiver.verify
        }))
      await isWhole(where, 1500)
    } finally {
      await proxy.stop()
    }
  })
})
