/**
 * Between a server and its clients everything breaks: the server is killed and started again, connections are cut, refused,
 * truncated, delayed, and go silent. Nothing is lost, the order holds, and what was acknowledged does not come again.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { Generator, Poller, Pusher } from "../../src/index.js"
import * as Rpc from "../../src/rpc.js"
import { type Child, spawnTs } from "../support/child.js"
import { type Proxy, startProxy } from "../support/proxy.js"
import { credentials } from "../support/remote.js"
import { Gone, onEach } from "../support/stream.js"
import { rounds } from "./rounds.js"

const serverFile = fileURLToPath(new URL("./rpcServer.ts", import.meta.url))
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const freePort = () =>
  new Promise<number>((done) => {
    const server = Net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => done(port))
    })
  })

const clientOf = (via: "ws" | "http", port: number) =>
  Effect.map(
    Layer.build(Rpc.layer({
      url: `${via}://127.0.0.1:${port}/rpc`,
      credentials: credentials("ada"),
      heartbeat: "500 millis",
      timeLimit: "1 minute",
      reconnect: Schedule.spaced("50 millis")
    })),
    (context) => ({
      generator: Context.get(context, Generator.Generator),
      poller: Context.get(context, Poller.Poller),
      pusher: Context.get(context, Pusher.Pusher)
    })
  )

onEach("A subscription over the network", ({ db, prefix }) => {
  const disturbances = (
    proxy: Proxy,
    restart: () => Promise<void>
  ): ReadonlyArray<readonly [string, () => Promise<void>]> => [
    ["the server is killed", restart],
    ["connections are cut", async () => proxy.cutAll()],
    ["connections are refused", async () => {
      proxy.accept(false)
      proxy.cutAll()
      await sleep(300)
      proxy.accept(true)
    }],
    ["a message is cut in the middle", async () => proxy.truncate()],
    ["everything is late", async () => {
      proxy.delay(50)
      await sleep(500)
      proxy.delay(0)
    }],
    ["nothing arrives any more", async () => {
      proxy.hold(true)
      await sleep(1500)
      proxy.cutAll()
      proxy.hold(false)
    }]
  ]

  for (const via of ["ws", "http"] as const) {
    it(`whatever breaks: nothing is lost, in order, only what was not acknowledged is repeated (${via})`, async () => {
      const p = prefix()
      const port = await freePort()
      let server: Child
      const start = async () => {
        server = spawnTs(serverFile, [db().url, p, `${port}`])
        await server.message((message) => message === "ready")
      }
      const restart = async () => {
        server.kill("SIGKILL")
        await server.exited
        await start()
      }
      await start()
      const proxy = await startProxy({ host: "127.0.0.1", port })
      const managed: Array<number> = []
      const delivered: Array<number> = []
      let acknowledged = 0
      const again: Array<string> = []
      let total = 0
      try {
        await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
          const { generator, pusher } = yield* clientOf(via, proxy.port)
          let stopped = false
          const emitting = yield* Effect.fork(Effect.gen(function*() {
            while (!stopped) {
              // sent again when the answer is lost, and stored once
              yield* generator.addAll(range(5).map((i) => Generator.event(Gone, { id: total + i })))
              total += 5
              yield* Effect.sleep(20)
            }
          }))
          const running = yield* Effect.fork(pusher.run("R", {
            batch: (events) =>
              Effect.sync(() => {
                for (const event of events) if (event._tag === "Known") managed.push(event.data.id)
              })
          }, { want: [Gone], register: {}, limit: 10 }))
          const subscribed = pusher.subscribe("S", { want: [Gone], register: {}, limit: 10 }).pipe(
            Stream.runForEach(({ ack, batch }) =>
              Effect.gen(function*() {
                for (const event of batch.events) {
                  if (event._tag !== "Known") continue
                  const { id } = event.data
                  if (id <= acknowledged) again.push(`${id} after ${acknowledged} was acknowledged`)
                  delivered.push(id)
                }
                yield* Effect.sleep(Math.random() * 20)
                yield* ack
                acknowledged = Math.max(acknowledged, ...delivered)
              })
            )
          )
          // who is lost twice in a row before it was told where it is begins again
          const subscribing = yield* Effect.fork(
            Effect.retry(subscribed, { while: ({ _tag }) => _tag === "ConsumerFenced" })
          )
          yield* Effect.promise(async () => {
            const list = disturbances(proxy, restart)
            for (let round = 0; round < rounds(6, 20); round++) {
              // each one hits what works again
              const before = [total, managed.length, delivered.length]
              const moves = () => [total, managed.length, delivered.length].every((n, i) => n > before[i]!)
              for (let i = 0; i < 600 && !moves(); i++) await sleep(50)
              expect(moves()).toBe(true)
              await sleep(Math.random() * 300)
              await list[round % list.length]![1]()
            }
          })
          stopped = true
          yield* Fiber.join(emitting)
          const complete = Effect.repeat(Effect.sleep(50), {
            until: () => managed.includes(total) && delivered.includes(total)
          })
          yield* Effect.raceFirst(Effect.timeout(complete, "60 seconds"), Fiber.join(running))
          yield* Fiber.interruptAll([running, subscribing])
        })))
      } finally {
        await proxy.stop()
        server!.kill("SIGKILL")
        await server!.exited
      }
      expect(total).toBeGreaterThan(20)
      expect(again).toEqual([])
      for (const seen of [managed, delivered]) {
        // each for the first time in order, and none is left out
        expect([...new Set(seen)]).toEqual(range(total))
        let most = 0
        for (const id of seen) {
          expect(id).toBeLessThanOrEqual(most + 1)
          // at most what may be unacknowledged
          expect(id).toBeGreaterThan(most - 60)
          most = Math.max(most, id)
        }
      }
    })
  }
}, { backends: ["sqlite"] })
