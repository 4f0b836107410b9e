/** What the server over the network promises: who may do what, and that nobody can bring it down. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { expect, it } from "vitest"
import { WebSocket } from "ws"
import * as Access from "../src/access.js"
import { Consumers, type Delivery, Generator, Poller, Pusher } from "../src/index.js"
import { StoreError } from "../src/EventStreamError.js"
import * as Rpc from "../src/rpc.js"
import { credentials, everything, serving } from "./support/remote.js"
import { type Proxy, startProxy } from "./support/proxy.js"
import { Added, Gone, onEach } from "./support/stream.js"

const gone = (n: number, from = 1) => Array.from({ length: n }, (_, i) => Generator.event(Gone, { id: from + i }))

const clientOf = (url: string, user: string, options: Partial<Rpc.Options> = {}) =>
  Effect.map(Layer.build(Rpc.layer({ url, credentials: credentials(user), ...options })), (context) => ({
    generator: Context.get(context, Generator.Generator),
    poller: Context.get(context, Poller.Poller),
    pusher: Context.get(context, Pusher.Pusher),
    consumers: Context.get(context, Consumers.Consumers)
  }))

/** How often the servers of this process refused something, by why. */
const refusals = Effect.map(Metric.snapshot, (snapshot) => {
  const counts: Record<string, number> = {}
  for (const { metricKey, metricState } of snapshot) {
    if (metricKey.name !== "evt.server.refused") continue
    const why = metricKey.tags.find(({ key }) => key === "why")!.value
    counts[why] = (metricState as any).count
  }
  return counts
})

/** What was refused meanwhile. */
const refusedBy = <A, E, R>(why: string, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const before = (yield* refusals)[why] ?? 0
    yield* effect
    return ((yield* refusals)[why] ?? 0) - before
  })

const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(Effect.delay(condition, 20), { until: (is) => is }).pipe(Effect.timeout("30 seconds"))

const permission = { _tag: "StoreError", reason: "permission", retryable: false }
const closed = (socket: WebSocket) =>
  Effect.promise(() =>
    new Promise<number>((done) => socket.readyState === WebSocket.CLOSED ? done(-1) : void socket.once("close", done))
  )
const open = (url: string) =>
  Effect.promise(() =>
    new Promise<WebSocket>((done, fail) => {
      const socket = new WebSocket(url)
      socket.once("open", () => done(socket))
      socket.on("error", fail)
    })
  )

/** What @effect/rpc speaks with. */
const msgpack: Effect.Effect<{ readonly pack: (value: unknown) => Buffer; readonly unpack: (data: Buffer) => any }> =
  Effect
    .promise(() => import("msgpackr" as string))

const header = (user: string) => ["authorization", `Basic ${Buffer.from(`${user}:x`).toString("base64")}`]

onEach("Users of a server", ({ prefix, run }) => {
  for (const via of ["ws", "http"] as const) {
    it(`wrong credentials are refused, a right one is known (${via})`, () =>
      run(
        Effect.gen(function*() {
          const { hash, token } = yield* Access.makeToken
          const password = yield* Access.hashPassword("secret")
          const url = yield* serving(via, Access.accounts([{ user: "ada", token: hash }, { user: "bob", password }]))
          const list = [
            [{ token: Redacted.make(token) }, "ada"],
            [{ user: "bob", password: Redacted.make("secret") }, "bob"],
            [{ token: Redacted.make("x") }, undefined],
            [{ user: "bob", password: Redacted.make("Secret") }, undefined],
            [{ user: "ada", password: Redacted.make("secret") }, undefined],
            [{ user: "eve", password: Redacted.make("") }, undefined]
          ] as const
          for (const [shown, user] of list) {
            const { poller, pusher } = yield* clientOf(url, "", { credentials: shown })
            if (user !== undefined) {
              expect(yield* Effect.flip(poller.poll("NONE"))).toMatchObject({ consumer: `${user}:NONE` })
              continue
            }
            for (
              const error of [
                yield* Effect.flip(poller.register("C")),
                yield* Effect.flip(Stream.runDrain(pusher.subscribe("C")))
              ]
            ) expect(error).toMatchObject({ ...permission, cause: { _tag: "Unauthorized" } })
          }
        }),
        { prefix: prefix() }
      ))
  }

  it("see and move their own consumers only, and do not learn of others'", () =>
    run(
      Effect.gen(function*() {
        const url = yield* serving("ws", Access.trusting())
        const ada = yield* clientOf(url, "ada")
        const eve = yield* clientOf(url, "eve")
        yield* ada.poller.register("C")
        yield* ada.generator.addAll(gone(5))
        const running = yield* Effect.fork(Stream.runDrain(ada.pusher.subscribe("C")))
        // whether it is there or not, the answer is the same
        const attempts = (consumer: { readonly user: string; readonly component: string }) =>
          [
            eve.poller.poll(consumer),
            eve.poller.poll(consumer, { lastId: 5 }),
            eve.poller.register(consumer),
            eve.poller.unregister(consumer),
            Stream.runDrain(eve.poller.stream(consumer)),
            Stream.runDrain(eve.pusher.subscribe(consumer)),
            Stream.runDrain(eve.pusher.subscribe(consumer, { whenBusy: "fail" })),
            eve.pusher.run(consumer, () => Effect.void),
            eve.consumers.reset(consumer, "end"),
            eve.consumers.remove(consumer),
            eve.consumers.pause(consumer),
            eve.consumers.resume(consumer),
            eve.consumers.deadLetters(consumer),
            eve.consumers.redrive(consumer),
            eve.consumers.drop(consumer, "all"),
            eve.consumers.audit({ consumer })
          ] as ReadonlyArray<Effect.Effect<unknown, any>>
        const tell = (error: any) => [error.reason, error.message, error.cause?.message]
        const there = yield* Effect.forEach(attempts({ user: "ada", component: "C" }), Effect.flip)
        const notThere = yield* Effect.forEach(attempts({ user: "ada", component: "D" }), Effect.flip)
        for (const error of there) expect(error).toMatchObject({ ...permission, cause: { _tag: "Forbidden" } })
        const named = (errors: ReadonlyArray<any>) => errors.map(tell)
        expect(named(there)).toEqual(named(notThere))
        // a name of its own is its own
        expect(yield* Effect.flip(eve.poller.poll("C"))).toMatchObject({ _tag: "NotRegistered", consumer: "eve:C" })
        for (
          const error of [
            yield* Effect.flip(eve.consumers.list),
            yield* Effect.flip(eve.consumers.audit()),
            yield* Effect.flip(eve.consumers.redact({ key: "1" }))
          ]
        ) expect(error).toMatchObject({ ...permission, cause: { _tag: "Forbidden", needs: "administer" } })
        yield* Fiber.interrupt(running)
        expect((yield* ada.poller.poll("C")).events.length).toBe(5)
      }),
      { prefix: prefix() }
    ))

  it("rights: emit by type, LIVE only, neither, administration of everybody's with the name in the audit", () =>
    run(
      Effect.gen(function*() {
        const token = (rights: Access.Rights) => Effect.map(Access.makeToken, (made) => ({ ...made, rights }))
        const users = {
          emitter: yield* token({ emit: ["USR_DEL"], poll: false, push: false }),
          watcher: yield* token({ emit: false, poll: "live", push: "live" }),
          admin: yield* token(everything)
        }
        const url = yield* serving(
          "ws",
          Access.accounts(Object.entries(users).map(([user, { hash, rights }]) => ({ user, token: hash, rights })))
        )
        const as = (user: keyof typeof users) =>
          clientOf(url, "", { credentials: { token: Redacted.make(users[user].token) } })
        const emitter = yield* as("emitter")
        const watcher = yield* as("watcher")
        const admin = yield* as("admin")
        const forbidden = (needs: string, effect: Effect.Effect<unknown, any>) =>
          Effect.map(Effect.flip(effect), (error) =>
            expect(error).toMatchObject({ ...permission, cause: { _tag: "Forbidden", needs } }))

        yield* emitter.generator.add(Gone, { id: 1 })
        yield* forbidden("emit USR_ADD", emitter.generator.add(Added, { id: 1, email: "" }))
        yield* forbidden("push", emitter.poller.register("C"))
        yield* forbidden("poll", emitter.poller.poll("LIVE"))
        yield* forbidden("push", Stream.runDrain(emitter.pusher.live()))

        yield* forbidden("emit", watcher.generator.add(Gone, { id: 1 }))
        yield* forbidden("push as a registered consumer", watcher.poller.register("C"))
        yield* forbidden("poll as a registered consumer", watcher.poller.poll("C"))
        expect((yield* watcher.poller.poll("LIVE")).events.length).toBe(1)
        const seen = yield* Effect.fork(Stream.runHead(watcher.pusher.live()))
        yield* until(Effect.map(emitter.generator.add(Gone, { id: 2 }), () =>
          seen.unsafePoll() !== null))

        yield* admin.poller.register("C")
        yield* admin.consumers.reset({ user: "admin", component: "C" }, "end")
        yield* admin.consumers.pause("C", "lunch")
        expect((yield* admin.consumers.list).map(({ consumer, paused }) => [consumer, paused]))
          .toEqual([["admin:C", "lunch"]])
        expect((yield* admin.consumers.audit()).map(({ action, actor }) => [action, actor]))
          .toEqual([["pause", "rpc:admin"], ["reset", "rpc:admin"]])
      }),
      { prefix: prefix() }
    ))

  it("what goes wrong in the server is not told to callers, and not shared by their other calls", () =>
    run(
      Effect.gen(function*() {
        const detail = "connect to db.internal:5432 as evt"
        const access = Layer.succeed(Access.Access, {
          authenticate: (shown) =>
            shown._tag !== "Basic" || shown.user === "dies"
              ? Effect.die(new Error(detail))
              : shown.user === "fails"
              ? new StoreError({
                operation: "users",
                reason: "connection",
                retryable: true,
                cause: new Error(detail)
              })
              : Effect.succeed({ user: shown.user, rights: {} })
        })
        const url = yield* serving("ws", access)
        // both users on one connection, as behind a gateway
        const { pack, unpack } = yield* msgpack
        const socket = yield* open(url)
        const answers: Array<any> = []
        socket.on("message", (data: Buffer) => answers.push(unpack(data)))
        const call = (id: number, user: string, tag: string, payload: object) =>
          socket.send(pack({ _tag: "Request", id: `${id}`, tag, payload, headers: [header(user)] }))
        call(1, "ada", "Live", { buffer: 10 })
        yield* until(Effect.sync(() => answers.length === 1))
        call(2, "dies", "Register", { who: { component: "C" } })
        call(3, "fails", "Register", { who: { component: "C" } })
        yield* until(Effect.sync(() => answers.length === 3))
        const exits = answers.slice(1).map(({ exit }) => exit.cause.error)
        expect(exits).toMatchObject([
          { _tag: "StoreError", reason: "other", retryable: false },
          { _tag: "StoreError", reason: "connection", retryable: true }
        ])
        expect(JSON.stringify(answers)).not.toContain("db.internal")
        const { generator } = yield* clientOf(url, "ada")
        yield* generator.add(Gone, { id: 1 })
        // the live stream goes on; its first frame is acknowledged
        socket.send(pack({ _tag: "Ack", requestId: "1" }))
        yield* until(Effect.sync(() => answers.some(({ _tag, requestId }) => _tag === "Chunk" && requestId === "1")))
        expect(answers.some(({ _tag, requestId }) => _tag === "Exit" && requestId === "1")).toBe(false)
        socket.terminate()
      }),
      { prefix: prefix() }
    ))

  it("what needs the stream's database says so at once", () =>
    run(
      Effect.gen(function*() {
        const { generator, poller, pusher } = yield* clientOf(yield* serving("ws"), "ada")
        yield* poller.register("C")
        expect(yield* Effect.flip(generator.emit(Gone, { id: 1 }))).toMatchObject({ _tag: "NotInTransaction" })
        expect(yield* Effect.flip(generator.emitAll(gone(1)))).toMatchObject({ _tag: "NotInTransaction" })
        expect(yield* Effect.flip(generator.transaction(Effect.void)))
          .toMatchObject({ _tag: "InvalidOption", option: "transaction" })
        expect(yield* Effect.flip(generator.statement(gone(1)))).toMatchObject({
          _tag: "InvalidEvent",
          type: "USR_DEL"
        })
        expect(yield* Effect.flip(pusher.run("C", () => Effect.void, { exactlyOnce: true })))
          .toMatchObject({ _tag: "ForeignTransaction" })
      }),
      { prefix: prefix() }
    ))
}, { backends: ["sqlite"] })

onEach("A connection that is lost", ({ prefix, run }) => {
  /** A client with a proxy before the server, and one without. */
  const connected = <A>(
    f: (there: {
      readonly proxy: Proxy
      readonly ada: Effect.Effect.Success<ReturnType<typeof clientOf>>
      readonly direct: Effect.Effect.Success<ReturnType<typeof clientOf>>
    }) => Effect.Effect<A, any, any>
  ) =>
    run(
      Effect.gen(function*() {
        const url = yield* serving("ws")
        const proxy = yield* Effect.acquireRelease(
          Effect.promise(() => startProxy({ host: "127.0.0.1", port: Number(new URL(url).port) })),
          (proxy) => Effect.promise(() => proxy.stop())
        )
        const ada = yield* clientOf(`ws://127.0.0.1:${proxy.port}/rpc`, "ada", {
          heartbeat: "200 millis",
          reconnect: Schedule.spaced("20 millis")
        })
        yield* f({ proxy, ada, direct: yield* clientOf(url, "ada") })
      }) as Effect.Effect<void, any, any>,
      { prefix: prefix(), pusher: { leaseTtl: "2 seconds" } }
    )

  const idsOf = (delivery: { readonly batch: { readonly events: ReadonlyArray<any> } }): ReadonlyArray<number> =>
    delivery.batch.events.map((event) => event.data.id)

  const subscribed = (ada: Effect.Effect.Success<ReturnType<typeof clientOf>>) =>
    Effect.gen(function*() {
      const got = yield* Queue.unbounded<Delivery.Delivery<any, any>>()
      const fiber = yield* Effect.forkScoped(
        Stream.runForEach(
          ada.pusher.subscribe("C", { want: [Gone], limit: 2, maxInFlight: 3, register: {} }),
          (delivery) => Queue.offer(got, delivery)
        )
      )
      return { take: Queue.take(got), fiber }
    })

  it("what the program has in hand is not repeated, what comes after it not left out, and late acknowledgements count", () =>
    connected(({ ada, direct, proxy }) =>
      Effect.gen(function*() {
        yield* direct.generator.addAll(gone(40))
        const { fiber, take } = yield* subscribed(ada)
        const first = yield* take
        const second = yield* take
        expect([...idsOf(first), ...idsOf(second)]).toEqual([1, 2, 3, 4])
        proxy.cutAll()
        // of the connection that is gone
        yield* second.ack
        const seen: Array<number> = []
        while (!seen.includes(40)) {
          const delivery = yield* take
          seen.push(...idsOf(delivery))
          // on its way, and on a connection that comes back
          if (seen.length % 4 === 0) {
            const acknowledging = yield* Effect.fork(delivery.ack)
            yield* Effect.sleep(Math.random() * 30)
            proxy.cutAll()
            yield* Effect.timeout(Fiber.join(acknowledging), "20 seconds")
          } else yield* delivery.ack
        }
        expect(seen).toEqual(Array.from({ length: 36 }, (_, i) => i + 5))
        expect((yield* direct.poller.poll("C")).events).toEqual([])
        yield* Fiber.interrupt(fiber)
      })
    ))

  it("one that is silent is given up by the client, which goes on with another one", () =>
    connected(({ ada, direct, proxy }) =>
      Effect.gen(function*() {
        const { fiber, take } = yield* subscribed(ada)
        yield* direct.generator.addAll(gone(1))
        expect(idsOf(yield* take)).toEqual([1])
        proxy.hold(true)
        yield* direct.generator.addAll(gone(1, 2))
        yield* Effect.sleep(1000)
        proxy.hold(false)
        expect(idsOf(yield* Effect.timeout(take, "10 seconds"))).toEqual([2])
        yield* Fiber.interrupt(fiber)
      })
    ))

  it("who was reset, or taken over, meanwhile is fenced, and its acknowledgements move nothing", () =>
    connected(({ ada, direct, proxy }) =>
      Effect.gen(function*() {
        yield* direct.generator.addAll(gone(10))
        const lost = (meanwhile: Effect.Effect<unknown, any, any>) =>
          Effect.gen(function*() {
            const { fiber, take } = yield* subscribed(ada)
            const delivery = yield* take
            proxy.accept(false)
            proxy.cutAll()
            yield* meanwhile
            proxy.accept(true)
            expect(yield* Effect.flip(Fiber.join(fiber))).toMatchObject({ _tag: "ConsumerFenced", consumer: "ada:C" })
            expect(yield* Effect.flip(delivery.ack)).toMatchObject({ _tag: "ConsumerFenced" })
            expect((yield* direct.poller.poll("C")).events[0]!.id).toBe(1n)
          })
        yield* lost(direct.consumers.reset("C", "beginning"))
        yield* lost(
          Stream.runDrain(Stream.take(direct.pusher.subscribe("C", { whenBusy: "takeOver" }), 1))
        )
      })
    ))

  it("no more is sent than may be unacknowledged", () =>
    connected(({ ada, direct, proxy }) =>
      Effect.gen(function*() {
        const email = "x".repeat(50_000)
        for (let i = 0; i < 5; i++) {
          yield* direct.generator.addAll(Array.from({ length: 20 }, () => Generator.event(Added, { id: 1, email })))
        }
        const fiber = yield* Effect.fork(Stream.runDrain(
          ada.pusher.subscribe("C", { want: [Added], limit: 1, maxInFlight: 2, register: {} })
        ))
        yield* Effect.sleep(1000)
        // two, and one that is read ahead
        expect(proxy.received()).toBeGreaterThan(100_000)
        expect(proxy.received()).toBeLessThan(200_000)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it("a live stream reads up what it missed", () =>
    connected(({ ada, direct, proxy }) =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const fiber = yield* Effect.fork(Stream.runForEach(
          ada.pusher.live([Gone]),
          (event) => Effect.sync(() => seen.push(event._tag === "Known" ? event.data.id : event._tag))
        ))
        // somebody else keeps the tail awake
        const other = yield* Effect.fork(Stream.runDrain(direct.pusher.live()))
        let n = 0
        const add = Effect.suspend(() => direct.generator.addAll(gone(1, ++n)))
        yield* until(Effect.zipRight(add, Effect.sync(() => seen.length > 0)))
        proxy.accept(false)
        proxy.cutAll()
        yield* Effect.repeatN(add, 5)
        proxy.accept(true)
        yield* until(Effect.zipRight(add, Effect.sync(() => seen.length > 10)))
        expect(seen).toEqual(Array.from({ length: seen.length }, (_, i) => Number(seen[0]) + i))
        yield* Fiber.interruptAll([fiber, other])
      })
    ))
}, { backends: ["sqlite"] })

onEach("A server under attack", ({ prefix, run }) => {
  /** Works before, and after. */
  const undisturbed = (attack: (url: string, port: number) => Effect.Effect<void, any, any>, limits: Rpc.Limits = {}) =>
    run(
      Effect.gen(function*() {
        const url = yield* serving("ws", undefined, { limits })
        const port = Number(new URL(url).port)
        const other = yield* clientOf(url, "other")
        const handled: Array<number> = []
        yield* Effect.forkScoped(
          other.pusher.run(
            "C",
            (event) => Effect.sync(() => event._tag === "Known" && handled.push(event.data.id)),
            { want: [Gone], register: {} }
          )
        )
        yield* other.generator.add(Gone, { id: 1 })
        yield* until(Effect.sync(() => handled.length === 1))
        yield* Effect.scoped(attack(url, port))
        yield* other.generator.add(Gone, { id: 2 })
        yield* until(Effect.sync(() => handled.length === 2))
        expect(handled).toEqual([1, 2])
      }) as Effect.Effect<void, any, any>,
      { prefix: prefix() }
    )

  it("garbage, null bodies, missing ids and unknown calls end one connection at most", () =>
    undisturbed((url) =>
      Effect.gen(function*() {
        const { pack } = yield* msgpack
        const frames: ReadonlyArray<Uint8Array | string> = [
          "null",
          "",
          "\u0000",
          Buffer.from([0xc0]),
          Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]),
          Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff, 0x01]),
          pack(null),
          pack([]),
          pack({}),
          pack({ _tag: "Request" }),
          pack({ _tag: "Request", id: "x", tag: "Poll", payload: {}, headers: [] }),
          pack({ _tag: "Request", id: "1", tag: "Poll", payload: null, headers: null }),
          pack({ _tag: "Request", id: "9".repeat(1000), tag: "Poll", payload: {}, headers: [] }),
          pack({ _tag: "Ack" }),
          pack({ _tag: "Ack", requestId: {} }),
          pack({ _tag: "Eof" }),
          pack({ _tag: "__proto__" })
        ]
        const refused = yield* refusedBy(
          "protocol",
          Effect.forEach(frames, (frame) =>
            Effect.gen(function*() {
              const socket = yield* open(url)
              socket.send(frame)
              yield* closed(socket)
            }))
        )
        expect(refused).toBe(frames.length)
        // well-formed, but nothing that there is
        const socket = yield* open(url)
        socket.send(pack({ _tag: "Request", id: "1", tag: "Nothing", payload: {}, headers: [] }))
        socket.send(pack({ _tag: "Request", id: "2", tag: "Poll", payload: { who: 1 }, headers: [] }))
        socket.send(pack({ _tag: "Ack", requestId: "77" }))
        socket.send(pack({ _tag: "Interrupt", requestId: "77" }))
        yield* Effect.sleep(100)
        expect(socket.readyState).toBe(WebSocket.OPEN)
        socket.terminate()
      })
    ))

  it("messages above the limit end their connection", () =>
    undisturbed((url) =>
      Effect.gen(function*() {
        const socket = yield* open(url)
        socket.send(Buffer.alloc(20_000))
        expect(yield* closed(socket)).toBe(1009)
        const response = yield* Effect.promise(() =>
          fetch(url.replace("ws:", "http:"), { method: "POST", body: new Uint8Array(20_000) })
        )
        expect(response.status).toBe(413)
        const { generator } = yield* clientOf(url, "ada", { messageBytes: 10_000 })
        const large = Array.from({ length: 20 }, () => Generator.event(Added, { id: 1, email: "x".repeat(1000) }))
        expect(yield* Effect.flip(generator.addAll(large)))
          .toMatchObject({ reason: "full", cause: { _tag: "LimitExceeded", limit: "messageBytes" } })
      }), { messageBytes: 10_000 }))

  it("a flood of calls is answered, call by call, or cut off", () =>
    undisturbed((url) =>
      Effect.gen(function*() {
        const { pack } = yield* msgpack
        const socket = yield* open(url)
        let answers = 0
        socket.on("message", () => answers++)
        for (let id = 0; id < 3000; id++) {
          socket.send(
            pack({ _tag: "Request", id: `${id}`, tag: "Live", payload: { buffer: 10 }, headers: [header("eve")] })
          )
        }
        // 32 of them are subscriptions, which have an answer each to begin with
        yield* until(Effect.sync(() => answers >= 3000 || socket.readyState === WebSocket.CLOSED))
        const counts = yield* refusals
        expect((counts["subscriptions"] ?? 0) + (counts["flood"] ?? 0)).toBeGreaterThan(0)
        socket.terminate()
      })
    ))

  it("more subscriptions and connections than allowed are refused, typed, and freed when they end", () =>
    undisturbed((url) =>
      Effect.gen(function*() {
        const eve = yield* clientOf(url, "eve")
        const subscribe = (component: string) =>
          Effect.forkScoped(Stream.runDrain(eve.pusher.subscribe(component, { register: {} })))
        yield* subscribe("A")
        const second = yield* subscribe("B")
        yield* until(Effect.map(Effect.either(eve.poller.poll("B")), ({ _tag }) => _tag === "Right"))
        const pushing = eve.pusher.subscribe("D", { register: {}, reconnect: Schedule.stop })
        expect(yield* Effect.flip(Stream.runDrain(pushing)))
          .toMatchObject({ reason: "busy", retryable: true, cause: { _tag: "LimitExceeded", limit: "subscriptions" } })
        yield* Fiber.interrupt(second)
        const third = yield* subscribe("B")
        yield* Effect.sleep(200)
        expect(third.unsafePoll()).toBe(null)
        const sockets = yield* Effect.forEach(Array.from({ length: 5 }), () => open(url))
        yield* until(Effect.sync(() => sockets.some(({ readyState }) => readyState === WebSocket.CLOSED)))
        for (const socket of sockets) socket.terminate()
      }), { subscriptions: 2, connections: 4 }))

  it("connections that are half open, and those that do not say who they are, are noticed", () =>
    undisturbed((url, port) =>
      Effect.gen(function*() {
        const anonymous = yield* refusedBy(
          "anonymous",
          Effect.gen(function*() {
            const sockets = yield* Effect.forEach(Array.from({ length: 20 }), () => open(url), { concurrency: 20 })
            yield* Effect.forEach(sockets, closed)
          })
        )
        expect(anonymous).toBe(20)
        // known, and then gone without a word: what it is sent goes nowhere
        const proxy = yield* Effect.acquireRelease(
          Effect.promise(() => startProxy({ host: "127.0.0.1", port })),
          (proxy) => Effect.promise(() => proxy.stop())
        )
        const eve = yield* clientOf(`ws://127.0.0.1:${proxy.port}/rpc`, "eve", { heartbeat: "1 hour" })
        yield* eve.poller.register("E")
        const silent = yield* refusedBy(
          "silent",
          Effect.gen(function*() {
            const before = (yield* refusals)["silent"] ?? 0
            proxy.hold(true)
            yield* until(Effect.map(refusals, (counts) => (counts["silent"] ?? 0) > before))
          })
        )
        expect(silent).toBeGreaterThanOrEqual(1)
      }), { idle: "300 millis" }))

  it("a reader that does not read is cut off before much waits for it", () =>
    undisturbed((url) =>
      Effect.gen(function*() {
        const { pack } = yield* msgpack
        const { generator } = yield* clientOf(url, "ada")
        const text = "x".repeat(50_000)
        yield* Effect.forEach(
          Array.from({ length: 10 }),
          () => generator.addAll(Array.from({ length: 20 }, () => Generator.event(Added, { id: 1, email: text }))),
          { discard: true }
        )
        const slow = yield* refusedBy(
          "slow",
          Effect.gen(function*() {
            const before = (yield* refusals)["slow"] ?? 0
            const socket = yield* open(url)
            socket.pause()
            let id = 0
            yield* until(Effect.gen(function*() {
              for (let i = 0; i < 4; i++) {
                socket.send(pack({
                  _tag: "Request",
                  id: `${++id}`,
                  tag: "Poll",
                  payload: { who: { component: "LIVE" }, lastId: "1" },
                  headers: [header("eve")]
                }))
              }
              return ((yield* refusals)["slow"] ?? 0) > before
            }))
            socket.terminate()
          })
        )
        expect(slow).toBeGreaterThan(0)
      }), { bufferedBytes: 2 * 1024 * 1024 }))
}, { backends: ["sqlite"] })
