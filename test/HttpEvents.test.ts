/** Server-Sent Events, as a client sees them. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Net from "node:net"
import { expect, it } from "vitest"
import { EventType, Generator } from "../src/index.js"
import { basic, client, serve } from "./support/http.js"
import { parser } from "./support/sse.js"
import { Added, Gone, onEach, services } from "./support/stream.js"

const gone = (count: number, from = 1) =>
  Array.from({ length: count }, (_, i) => Generator.event(Gone, { id: from + i }))
const taken = (connection: { readonly take: (count: number) => Promise<ReadonlyArray<any>> }, count: number) =>
  Effect.promise(() => connection.take(count))
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i))
const ids = (messages: ReadonlyArray<{ readonly id: string }>) => messages.map(({ id }) => id)

/** Until it is so; who waits for ever is stopped by the test's time. */
const until = <E, R>(look: Effect.Effect<boolean, E, R>) =>
  Effect.repeat(look, { until: (found) => found, schedule: Schedule.spaced("10 millis") })

onEach("Server-Sent Events", ({ prefix, run }) => {
  it("shows events as they come, in both formats, with their data as it was written", async () => {
    await run(
      Effect.gen(function*() {
        const { ask, connect } = client(yield* serve())
        yield* ask("POST", "/events", `{"type":"BEFORE","data":0}`)
        const plain = yield* connect("/events")
        const some = yield* connect("/events?want=A,C")
        const none = yield* connect("/events?want=")
        const clouds = yield* connect("/events?format=cloudevents")
        for (
          const [name, value] of [
            ["content-type", "text/event-stream; charset=utf-8"],
            ["cache-control", "no-store"],
            ["x-accel-buffering", "no"]
          ] as const
        ) expect(plain.headers.get(name)).toBe(value)
        const big = `{"n":12345678901234567890.10,"text":"\\r\\n\\u2028 ü"}`
        yield* ask("POST", "/events", `[{"type":"A","key":"k","data":${big}},{"type":"B","data":\n[1,\r\n2.0]}]`)
        yield* ask("POST", "/events", `{"type":"C","data":null}`)
        const [a, b, c] = yield* taken(plain, 3)
        expect([a, b, c]).toMatchObject([{ id: "2", event: "A" }, { id: "3", event: "B" }, { id: "4", event: "C" }])
        expect(JSON.parse(a.data)).toMatchObject({ id: "2", type: "A", key: "k" })
        expect(a.data).toContain(`"data":${big}}`)
        expect(JSON.parse(b.data).data).toEqual([1, 2])
        expect(b.data).toContain("2.0")
        expect(ids(yield* taken(some, 2))).toEqual(["2", "4"])
        const cloud = (yield* taken(clouds, 3))[0]
        expect(cloud).toMatchObject({ id: "2", event: "A" })
        expect(JSON.parse(cloud.data)).toMatchObject({ specversion: "1.0", id: "2", type: "A", subject: "k" })
        expect(cloud.data).toContain(`"data":${big}}`)
        expect(none.messages).toEqual([])
        expect(plain.state.retry).toBe(2000)
        // where a client resumes that has got nothing yet
        expect(none.state.lastEventId).toBe("1")
      }),
      { prefix: prefix() }
    )
  })

  it("resumes after the last id that was seen, without a gap or a repeat, while events are written", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const { connect } = client(yield* serve())
        const total = 1500
        // somebody at the end of the log all the time: the tail is not where who resumes is
        const other = yield* connect("/events")
        const writer = yield* Effect.fork(Effect.gen(function*() {
          for (let at = 1; at <= total; at += 5) {
            yield* generator.addAll(gone(5, at))
            yield* Effect.sleep(1)
          }
        }))
        const seen: Array<string> = []
        let connections = 0
        while (seen.length < total) {
          connections++
          yield* Effect.scoped(Effect.gen(function*() {
            const connection = yield* connect(
              "/events?from=beginning",
              seen.length === 0 ? {} : { "last-event-id": seen[seen.length - 1]! }
            )
            const messages = yield* taken(connection, Math.min(total - seen.length, 1 + (connections * 37) % 130))
            seen.push(...ids(messages))
          }))
        }
        yield* Fiber.join(writer)
        expect(seen).toEqual(numbers(1, total))
        expect(connections).toBeGreaterThan(8)
        expect(ids(yield* taken(other, total))).toEqual(seen)
        expect([...other.messages].map(({ event }) => event)).not.toContain("gap")
        // also where it is filtered, and where nothing comes after it
        const some = yield* connect(`/events?want=USR_DEL&lastEventId=${total - 3}`)
        expect(ids(yield* taken(some, 3))).toEqual(numbers(total - 2, total))
        const end = yield* connect(`/events?want=USR_ADD,USR_DEL&from=${total}`)
        yield* generator.addAll(gone(1))
        expect(ids(yield* taken(end, 1))).toEqual([String(total + 1)])
      }),
      { prefix: prefix() }
    )
  })

  it("keeps a connection alive, and says how far it is where nothing is wanted", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const { connect } = client(yield* serve({ heartbeat: "50 millis", retry: "7 seconds" }))
        const connection = yield* connect("/events?want=USR_ADD")
        yield* generator.addAll(gone(3))
        yield* until(Effect.sync(() => connection.state.lastEventId === "3"))
        const { comments } = connection.state
        yield* Effect.promise(() => connection.comments(comments + 3))
        expect(connection.messages).toEqual([])
        expect(connection.state.retry).toBe(7000)
      }),
      { prefix: prefix() }
    )
  })

  it("gives a registered consumer every event, and no more than so many batches without an acknowledgement", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const here = client(yield* serve({ heartbeat: "20 millis" }))
        // another server on the same stream: it knows nothing of connections here
        const there = client(yield* serve())
        yield* generator.addAll(gone(10))
        const cursor = Effect.map(consumers.list, ([one]) => String(one!.cursor))
        const connection = yield* here.connect("/events?consumer=A&register=beginning&limit=2&inFlight=2")
        expect(ids(yield* taken(connection, 4))).toEqual(numbers(1, 4))
        const { comments } = connection.state
        yield* Effect.promise(() => connection.comments(comments + 5))
        expect(connection.messages).toHaveLength(4)
        expect(yield* cursor).toBe("undefined")
        // in the middle of a batch: it is no batch less
        yield* here.ask("POST", "/events/ack", `{"consumer":"A","upTo":"1"}`)
        expect(yield* cursor).toBe("1")
        yield* here.ask("POST", "/events/ack", `{"consumer":"A","upTo":"2"}`)
        expect(ids(yield* taken(connection, 6))).toEqual(numbers(1, 6))
        yield* there.ask("POST", "/events/ack", `{"consumer":"A","upTo":"6"}`)
        expect(ids(yield* taken(connection, 10))).toEqual(numbers(1, 10))
        yield* here.ask("POST", "/events/ack", `{"consumer":"A","upTo":"9"}`)
        connection.close()
        const again = yield* here.connect("/events?consumer=A")
        expect(ids(yield* taken(again, 1))).toEqual(["10"])
      }),
      { prefix: prefix() }
    )
  })

  it("takes the cursor past what is not wanted", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const { ask, connect } = client(yield* serve())
        const cursor = Effect.map(consumers.list, ([one]) => String(one!.cursor))
        const connection = yield* connect("/events?consumer=A&register=beginning&want=USR_ADD")
        yield* generator.addAll(gone(3))
        yield* until(Effect.map(cursor, (at) => at === "3"))
        const added = Generator.event(Added, { id: 1, email: "a" })
        yield* generator.addAll([added, ...gone(2)])
        expect(ids(yield* taken(connection, 1))).toEqual(["4"])
        expect(yield* cursor).toBe("3")
        yield* ask("POST", "/events/ack", `{"consumer":"A","upTo":"4"}`)
        // what is not wanted is said once in a while
        yield* until(Effect.zipRight(generator.addAll(gone(1)), Effect.map(cursor, (at) => Number(at) >= 7)))
      }),
      { prefix: prefix() }
    )
  })

  it("acknowledges by the last id of the next connection where that is asked for", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const { connect } = client(yield* serve())
        yield* generator.addAll(gone(25))
        const seen: Array<string> = []
        // as an EventSource does it: always the same address, and the last id
        while (seen.length < 25) {
          const last = seen[seen.length - 1]
          const connection = yield* connect(
            "/events?consumer=A&register=beginning&ack=reconnect&limit=5&inFlight=2",
            last === undefined ? {} : { "last-event-id": last }
          )
          yield* seen.length < 20 ? Effect.promise(() => connection.ended) : taken(connection, 5)
          seen.push(...ids(connection.messages))
          connection.close()
        }
        expect(seen).toEqual(numbers(1, 25))
        expect((yield* consumers.list)[0]!.cursor).toBe(20n)
        // without it the id of a connection says nothing
        const post = yield* connect("/events?consumer=A", { "last-event-id": "25" })
        expect(ids(yield* taken(post, 5))).toEqual(numbers(21, 25))
      }),
      { prefix: prefix() }
    )
  })

  it("lets one connection at a time receive: the others stand by, take over or fail", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const { ask, connect } = client(yield* serve({ heartbeat: "20 millis" }))
        yield* generator.addAll(gone(1))
        const first = yield* connect("/events?consumer=A&register=beginning")
        yield* taken(first, 1)
        const failing = yield* connect("/events?consumer=A&busy=fail")
        const [problem] = yield* taken(failing, 1)
        expect(problem.event).toBe("problem")
        expect(JSON.parse(problem.data)).toMatchObject({ error: "ConsumerBusy", consumer: "ada:A" })
        yield* Effect.promise(() => failing.ended)

        const waiting = yield* connect("/events?consumer=A")
        yield* Effect.promise(() => waiting.comments(3))
        expect(waiting.messages).toEqual([])
        first.close()
        expect(ids(yield* taken(waiting, 1))).toEqual(["1"])

        const taking = yield* connect("/events?consumer=A&busy=takeOver&receiver=me")
        expect(ids(yield* taken(taking, 1))).toEqual(["1"])
        // it notices when it acknowledges, or renews its lease
        yield* ask("POST", "/events/ack", `{"consumer":"A","upTo":"1"}`)
        const back = yield* connect("/events?consumer=A&receiver=me")
        const [, lost] = yield* taken(taking, 2)
        expect(JSON.parse(lost.data)).toMatchObject({ error: "ConsumerFenced" })
        yield* Effect.promise(() => taking.ended)
        yield* generator.addAll(gone(1))
        expect(ids(yield* taken(back, 1))).toEqual(["2"])
      }),
      { prefix: prefix() }
    )
  })

  it("a client that vanishes leaves nothing behind: no lease, no place, no receiver", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const url = yield* serve({ limits: { userSubscriptions: 1 } })
        const { connect } = client(url)
        yield* generator.addAll(gone(1))
        for (let i = 0; i < 5; i++) {
          const { hostname, port } = new URL(url)
          const socket = Net.connect(Number(port), hostname)
          socket.on("error", () => {})
          const answered = Effect.async<void>((resume) => void socket.once("data", () => resume(Effect.void)))
          socket.write(
            `GET /api/events?consumer=A&register=beginning HTTP/1.1\r\nHost: a\r\nAuthorization: ${
              basic("ada").authorization
            }\r\n\r\n`
          )
          yield* answered
          yield* until(Effect.map(consumers.list, ([one]) => one?.state === "active"))
          if (i % 2 === 0) socket.destroy()
          else socket.resetAndDestroy()
          yield* until(Effect.map(consumers.list, ([one]) => one?.lease === undefined))
        }
        const next = yield* connect("/events?consumer=A&busy=fail")
        expect(ids(yield* taken(next, 1))).toEqual(["1"])
      }),
      { prefix: prefix() }
    )
  })

  it("tells who is too slow what it has missed, and holds little for it meanwhile", async () => {
    const Big = EventType.make("BIG", Schema.String)
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const url = new URL(yield* serve({ buffer: 1000 }))
        // somebody has to be faster: alone, a slow client only slows down what is read from the log
        const { pusher } = yield* services
        const socket = Net.connect(Number(url.port), url.hostname)
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        const parts: Array<Buffer> = []
        const begun = yield* Deferred.make<void>()
        const all = yield* Deferred.make<void>()
        socket.on("data", (data) => {
          parts.push(data)
          Deferred.unsafeDone(begun, Effect.void)
          if (Buffer.concat(parts.slice(-2)).includes("event: USR_DEL")) Deferred.unsafeDone(all, Effect.void)
        })
        socket.write(
          `GET /api/events HTTP/1.1\r\nHost: a\r\nAuthorization: ${basic("ada").authorization}\r\n\r\n`
        )
        yield* Deferred.await(begun)
        socket.pause()
        // more than the buffers of two sockets hold, and than a client may be behind
        const total = 24_000
        const batch = Array.from({ length: 500 }, () => Generator.event(Big, "x".repeat(1000)))
        const fast = yield* Effect.fork(Stream.runDrain(Stream.take(pusher.live(), total)))
        for (let at = 0; at < total; at += batch.length) {
          yield* generator.addAll(batch)
          yield* Effect.sleep(1)
        }
        yield* Fiber.join(fast)
        yield* generator.addAll(gone(1))
        socket.resume()
        yield* Deferred.await(all)
        // chunks of the transfer are lines of their own
        const { push } = parser()
        const text = Buffer.concat(parts).toString("latin1")
        const body = text.slice(text.indexOf("\r\n\r\n") + 4).replaceAll(/\r\n[0-9a-f]+\r\n/g, "")
        const messages = push(body)
        const gaps = messages.filter(({ event }) => event === "gap").map(({ data }) => JSON.parse(data))
        const events = messages.filter(({ event }) => event !== "gap")
        expect(gaps.length).toBeGreaterThan(0)
        const missed = gaps.reduce((sum, { missed }) => sum + missed, 0)
        expect(events.length + missed).toBe(total + 1)
        const seen = ids(events).map(Number)
        expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
        for (const { upTo } of gaps) expect(seen).not.toContain(Number(upTo))
      }),
      { prefix: prefix() }
    )
  })

  it("cuts off who takes nothing at all", async () => {
    await run(
      Effect.gen(function*() {
        const { consumers, generator } = yield* services
        const url = new URL(yield* serve({ stalledAfter: "300 millis" }))
        const Big = EventType.make("BIG", Schema.String)
        const batch = Array.from({ length: 30 }, () => Generator.event(Big, "x".repeat(60_000)))
        for (let i = 0; i < 10; i++) yield* generator.addAll(batch)
        const socket = Net.connect(Number(url.port), url.hostname)
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
        socket.on("error", () => {})
        socket.write(
          `GET /api/events?consumer=A&register=beginning HTTP/1.1\r\nHost: a\r\nAuthorization: ${
            basic("ada").authorization
          }\r\n\r\n`
        )
        socket.pause()
        yield* until(Effect.map(consumers.list, ([one]) => one?.state === "active"))
        yield* until(Effect.map(consumers.list, ([one]) => one?.lease === undefined))
      }),
      { prefix: prefix() }
    )
  })

  it("ends when its server ends", async () => {
    await run(
      Effect.gen(function*() {
        const { generator } = yield* services
        const scope = yield* Scope.make()
        const { connect } = client(yield* Scope.extend(serve(), scope))
        const live = yield* connect("/events")
        const reliable = yield* connect("/events?consumer=A&register=beginning")
        yield* generator.addAll(gone(1))
        yield* taken(live, 1)
        yield* taken(reliable, 1)
        yield* Scope.close(scope, Exit.void)
        yield* Effect.promise(() => live.ended)
        yield* Effect.promise(() => reliable.ended)
      }),
      { prefix: prefix() }
    )
  })
})
