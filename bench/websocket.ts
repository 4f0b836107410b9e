/**
 * A subscription with acknowledgement through a WebSocket, both ends in this process, against the same consumer without a
 * network; and a thousand of them on one server, from a process of their own: memory for each, and how long an event takes.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ChildProcess from "node:child_process"
import * as Readline from "node:readline"
import { fileURLToPath } from "node:url"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as Access from "../src/access.js"
import { Delivery, Pusher } from "../src/index.js"
import * as NodeServer from "../src/layers/network/nodeServer.js"
import * as Server from "../src/layers/rpc/server.js"
import * as Rpc from "../src/rpc.js"
import { fill } from "./drain.js"
import { readAll } from "./fanOut.js"
import { compare, type Figure } from "./harness.js"
import { Happened, services, type Subject, text } from "./subject.js"

const users = 10

/** Milliseconds. */
const perCommit = 10

/** With acknowledgements, or without. */
export type Mode = "subscribed" | "live"

/** Serves the subject's stream until the scope closes; the URL. */
const serving = Effect.gen(function*() {
  const server = yield* NodeServer.make()
  yield* Layer.build(
    Server.layerNode().pipe(
      Layer.provide(Access.trusting()),
      Layer.provide(Layer.succeed(NodeServer.NodeServer, server))
    )
  )
  return `ws://127.0.0.1:${server.port}/rpc`
})

const clientOf = (url: string, user: string) =>
  Layer.build(Rpc.layer({ url, credentials: { user, password: Redacted.make("") } }))

export const webSocket = async (subject: Subject, quick: boolean): Promise<ReadonlyArray<Figure>> => {
  // more than the tail keeps in memory, decoded
  const count = quick ? 50_000 : 100_000
  const scope = Effect.runSync(Scope.make())
  const within = <A>(effect: Effect.Effect<A, any, any>): Promise<A> =>
    subject.run(Effect.provideService(effect, Scope.Scope, scope) as Effect.Effect<A, any, never>)
  const url = await within(serving)
  // first, as long as the tail has nothing in memory
  const [clients, events] = quick ? [100, 5] : [1000, 10]
  const many = [
    ...await thousand(subject, url, clients, events, "subscribed"),
    ...await thousand(subject, url, clients, events * 10, "live")
  ]
  await fill(subject, count)
  if (subject.backend === "postgres") await subject.bare.query("ANALYZE")
  const client = await within(clientOf(url, "bench"))
  const figures = await compare({
    workload: "websocket",
    db: subject.backend,
    rounds: quick ? 3 : 5,
    ours: {
      name: "Pusher.subscribe by WebSocket, one type decoded",
      run: () => subject.run(Effect.provide(readAll(count, 1), client))
    },
    others: [{ name: "the same in process", target: 0.25, run: () => subject.run(readAll(count, 1)) }]
  })
  await Effect.runPromise(Scope.close(scope, { _tag: "Success" } as never))
  return [...figures, ...many]
}

V8.setFlagsFromString("--expose-gc")
const collect: () => void = Vm.runInNewContext("gc")

const at = (sorted: ReadonlyArray<number>, share: number) => sorted[Math.floor((sorted.length - 1) * share)]!

/** `clients` subscribed WebSockets, in a process of their own; `events` events, one after the other. */
const thousand = async (
  subject: Subject,
  url: string,
  clients: number,
  events: number,
  mode: Mode
): Promise<ReadonlyArray<Figure>> => {
  const memory = () => {
    collect()
    const { arrayBuffers, external, heapUsed } = process.memoryUsage()
    return heapUsed + external + arrayBuffers
  }
  const before = memory()
  const child = ChildProcess.spawn(
    process.execPath,
    [
      fileURLToPath(new URL("./run.js", import.meta.url)),
      `websocket-${mode}-child`,
      "--db",
      subject.backend,
      "--count",
      String(clients),
      "--url",
      url
    ],
    { stdio: ["ignore", "pipe", "inherit"] }
  )
  const lines = Readline.createInterface({ input: child.stdout })
  const waiting = new Map<string, () => void>()
  const latencies: Array<number> = []
  let received = 0
  lines.on("line", (line) => {
    if (line.startsWith("[")) {
      // by the clock of the machine, which both processes share
      for (const millis of JSON.parse(line) as ReadonlyArray<number>) latencies.push(millis)
      received = latencies.length
      waiting.get("all")?.()
    } else waiting.get(line)?.()
  })
  const said = (line: string) => new Promise<void>((done) => waiting.set(line, done))
  // all are open when each of them has had an event
  let ready = false
  const opened = said("ready").then(() => ready = true)
  while (!ready) {
    await subject.run(Effect.flatMap(services, ({ generator }) => generator.add(Happened, { n: 0, text: "opening" })))
    await Promise.race([opened, new Promise((done) => setTimeout(done, 2000))])
  }
  await new Promise((done) => setTimeout(done, clients * perCommit))
  const each = (memory() - before) / clients
  for (let n = 1; n <= events; n++) {
    const all = new Promise<void>((done) => waiting.set("all", () => received >= clients * n && done()))
    await subject.run(
      Effect.flatMap(
        services,
        ({ generator }) => generator.add(Happened, { n: Math.round(performance.timeOrigin + performance.now()), text })
      )
    )
    await all
    // who is subscribed acknowledges: the next event is not to wait for those commits
    await new Promise((done) => setTimeout(done, mode === "live" ? 100 : clients * perCommit))
  }
  child.kill()
  // what they leave behind is not to be counted as memory that the next ones give back
  await new Promise((done) => setTimeout(done, clients * perCommit))
  const sorted = latencies.sort((a, b) => a - b)
  const figure = (name: string, value: number): Figure => ({
    workload: "websocket",
    db: subject.backend,
    figure: `${clients} ${mode} WebSockets: ${name}`,
    ratio: Number(value.toFixed(1)),
    of: "",
    spread: [Number(at(sorted, 0).toFixed(1)), Number(at(sorted, 1).toFixed(1))],
    perSecond: 0,
    target: undefined
  })
  return [
    { ...figure("KiB of heap in the server for each", each / 1024), spread: [0, 0] },
    figure("add to handler, p50 in ms", at(sorted, 0.5)),
    figure("add to handler, p99 in ms", at(sorted, 0.99))
  ]
}

/** In the child: clients, each with a WebSocket of its own, that say how long events took. */
export const readWebSockets = async (url: string, clients: number, mode: Mode) => {
  let pending: Array<number> = []
  const open = new Set<number>()
  setInterval(() => {
    if (pending.length > 0) console.log(JSON.stringify(pending))
    pending = []
  }, 100)
  const one = (i: number) =>
    Effect.gen(function*() {
      const context = yield* clientOf(url, `u${i % users}`)
      const pusher = Context.get(context, Pusher.Pusher)
      const took = (events: ReadonlyArray<unknown>) =>
        Effect.sync(() => {
          const now = performance.timeOrigin + performance.now()
          for (const event of events as ReadonlyArray<any>) {
            if (event._tag !== "Known") continue
            if (event.data.n > 0) pending.push(now - event.data.n)
            else if (open.add(i).size === clients) console.log("ready")
          }
        })
      const reading = mode === "live"
        ? Stream.runForEachChunk(pusher.live([Happened]), (events) => took([...events]))
        : pusher.subscribe(`W${i}`, { want: [Happened], register: { from: "end" } }).pipe(
          Delivery.handle(took),
          Stream.runDrain
        )
      yield* Effect.forkScoped(reading as Effect.Effect<void, unknown>)
      // one after the other, as clients come
      yield* Effect.sleep(5)
    })
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    yield* Effect.forEach(Array.from({ length: clients }, (_, i) => i), one, { discard: true })
    yield* Effect.never
  })))
}
