/**
 * The ways to kill the original, and others: whoever does it is answered or cut off, a counter shows it, and the other
 * clients notice nothing.
 */
import * as Net from "node:net"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { WebSocket } from "ws"
import { EventType, Generator } from "../../src/index.js"
import * as Schema from "effect/Schema"
import { cbor, msgpack } from "../../src/layers/ftn18/coder.js"
import { createDatabase, type TestDatabase } from "../support/backends.js"
import { call, connect, request, sec } from "./client.js"
import { refused, type Served, served, until } from "./server.js"

const ping = "futoin.ping:1.0:ping"
const poll = "futoin.evt.poll:1.1:pollEvents"
const register = "futoin.evt.push:1.1:registerConsumer"
const ready = "futoin.evt.push:1.1:readyToReceive"
const Seen = EventType.make("SEEN", Schema.Unknown)

describe("Ftn18, hostile clients", () => {
  let db: TestDatabase
  beforeEach(async () => {
    db = await createDatabase("sqlite")
  })
  afterEach(() => db.drop())

  /** Another client is connected all the time, and served before and after; nothing unforeseen is logged. */
  const serving = (test: (served: Served) => Promise<void>, options?: Parameters<typeof served>[2]) =>
    served(db.stream(), async (served) => {
      const { logs, port, run, stream } = served
      const bystander = await connect({ port })
      await bystander.ask(register, { component: "BYSTANDER" })
      await bystander.ask(ready, { component: "BYSTANDER", want: ["BYSTANDER"] })
      await test(served)
      expect(await bystander.ask(ping, { echo: 7 })).toEqual({ echo: 7 })
      expect(await call({ port }, ping, { echo: 8 })).toEqual({ echo: 8 })
      const [id] = await run(stream.generator.addAll([Generator.event(EventType.make("BYSTANDER", Schema.Null), null)]))
      expect((await bystander.push()).ids).toEqual([String(id)])
      expect(logs.filter(({ level }) => level === "ERROR" || level === "FATAL")).toEqual([])
    }, options)

  it("bodies that are no message are answered, whatever they are", () =>
    serving(async ({ port }) => {
      const bodies = ["null", "", "[]", "[null]", "5", `"x"`, "{", "CBO", Buffer.from([0xff]), {}]
      for (const body of bodies) {
        const { headers, json, status } = await request({ port }, body)
        expect([status, json?.e]).toEqual([200, "InvalidRequest"])
        expect(headers["content-type"]).toBe("application/futoin+json")
      }
      // in the form of the request, as far as that is known
      for (const [body, coder] of [["MPCK", msgpack], ["MPCK\xc0", msgpack], ["CBOR\xf6", cbor]] as const) {
        const answer = await request({ port }, Buffer.from(body, "latin1"))
        expect(answer.headers["content-type"]).toBe(`application/futoin+${coder.name}`)
        expect(coder.decode(answer.body).value).toMatchObject({ e: "InvalidRequest" })
      }
      for (const p of [null, "x", [], 5]) {
        expect(await call({ port }, ping, p)).toMatchObject({ e: "InvalidRequest" })
      }
    }))

  it("messages without an id, or with a strange one, are passed over", () =>
    serving(async ({ port }) => {
      const before = refused("malformed")
      const client = await connect({ port })
      const message = { f: ping, p: { echo: 1 }, sec }
      const ids = [5, null, {}, ["C1"], "x".repeat(1000)]
      const messages = [message, null, [], 5, "x", ...ids.map((rid) => ({ ...message, rid }))]
      for (const message of messages) client.send(message)
      client.ws.send("{")
      client.ws.send(Buffer.from("MPCK\x81"))
      client.send({ r: true, rid: "S999" })
      expect(await client.ask(ping, { echo: 2 })).toEqual({ echo: 2 })
      expect(refused("malformed") - before).toBe(messages.length + 2)
    }))

  it("a frame or a body above the limit ends its connection", () =>
    serving(async ({ port }) => {
      const before = [refused("protocol"), refused("messageBytes")]
      const client = await connect({ port })
      client.ws.send(Buffer.alloc(65_537, 0x20))
      expect((await client.closed).code).toBe(1009)
      const { status } = await request({ port }, Buffer.alloc(65_537, 0x20))
      expect(status).toBe(413)
      expect([refused("protocol"), refused("messageBytes")]).toEqual(before.map((n) => n + 1))
      // exactly as long as allowed
      const text = JSON.stringify({ f: ping, p: { echo: 1 }, sec })
      expect((await request({ port }, text + " ".repeat(65_536 - text.length))).json).toEqual({ r: { echo: 1 } })
    }))

  it("a client that vanishes with a push unanswered", () =>
    serving(async (served) => {
      const { port, run, stream } = served
      const [id] = await run(stream.generator.addAll([Generator.event(Seen, 1)]))
      for (let i = 0; i < 10; i++) {
        const client = await connect({ port })
        await client.ask(register, { component: "R" })
        expect(await client.ask(ready, { component: "R", want: ["SEEN"] })).toBe(true)
        expect((await client.push()).ids).toEqual([String(id)])
        client.ws.terminate()
      }
    }))

  it("a client that goes away in the middle of its request, or before the answer", () =>
    serving(async ({ port }) => {
      const whole = JSON.stringify({ f: poll, p: { component: "LIVE" }, sec })
      for (const sent of ["", whole.slice(0, 20), whole]) {
        const head = `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${whole.length}\r\n\r\n`
        await new Promise<void>((resolve) => {
          const socket = Net.connect(port, "127.0.0.1", () => {
            socket.write(head + sent, () => {
              socket.resetAndDestroy()
              resolve()
            })
          })
        })
      }
    }))

  it("a thousand half-open sockets are closed after a while, and keep nobody out", () =>
    serving(async ({ port }) => {
      let open = 0
      const halves = Array.from({ length: 1000 }, (_, i) => {
        const socket = Net.connect(port, "127.0.0.1", () => {
          if (i % 3 === 1) socket.write("POST / HTTP/1.1\r\nHost: x\r\n")
          if (i % 3 === 2) socket.write("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        })
        open++
        socket.on("error", () => {}).on("data", () => {}).once("close", () => open--)
        return socket
      })
      await until(() => halves.every((socket) => !socket.connecting))
      expect(await call({ port }, ping, { echo: 3 })).toEqual({ echo: 3 })
      expect(open).toBeGreaterThan(900)
      await until(() => open === 0)
    }))

  it("a client that does not read what it asks for is cut off before much waits for it", () =>
    serving(async ({ port, run, stream }) => {
      const before = refused("silent")
      const events = Array.from({ length: 100 }, () => Generator.event(Seen, "x".repeat(60_000)))
      await run(stream.generator.addAll(events))
      const ws = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false })
      await new Promise((resolve) => ws.once("open", resolve))
      const external = () => process.memoryUsage().external
      const empty = external()
      ws.pause()
      for (let i = 0; i < 100; i++) ws.send(JSON.stringify({ f: poll, p: { component: "LIVE" }, rid: `C${i}`, sec }))
      let most = 0
      await until(() => {
        most = Math.max(most, external() - empty)
        return refused("silent") > before
      })
      ws.terminate()
      // a hundred answers of 6 MB were asked for: one is on its way, and one may be being made
      expect(most).toBeLessThan(100_000_000)
    }, { limits: { idle: "2 seconds" } }))

  it("a client that floods is refused what is too much, and cut off if it goes on", () =>
    serving(async ({ port, run, stream }) => {
      await run(stream.generator.addAll(Array.from({ length: 100 }, () => Generator.event(Seen, "x".repeat(1000)))))
      const before = refused("requests")
      const client = await connect({ port })
      const answers: Array<any> = []
      client.ws.on("message", (data) => answers.push(JSON.parse(String(data))))
      for (let i = 0; i < 3000; i++) client.send({ f: poll, p: { component: "LIVE" }, rid: `C${i}`, sec })
      expect((await client.closed).code).toBe(1008)
      expect(refused("requests") - before).toBeGreaterThanOrEqual(1000)
      expect(answers.some(({ e }) => e === "DefenseRejected")).toBe(true)
    }, { limits: { requests: 16 } }))

  it("an address has so many connections and no more", () =>
    serving(async ({ port }) => {
      const before = refused("addressConnections")
      const clients = await Promise.all(Array.from({ length: 4 }, () => connect({ port })))
      expect((await (await connect({ port })).closed).code).toBe(1013)
      expect(await call({ port }, ping, { echo: 1 })).toMatchObject({ e: "DefenseRejected" })
      expect(refused("addressConnections") - before).toBe(2)
      for (const { ws } of clients) ws.terminate()
      await until(async () => !("e" in await call({ port }, ping, { echo: 1 })))
    }, { limits: { addressConnections: 5 } }))

  it("guesses at passwords wait for each other, not others for them", () =>
    serving(async ({ port }) => {
      const before = refused("credentials")
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => call({ port }, ping, { echo: 1 }, `evtuser:guess${i}`))
      )
      expect(new Set(answers.map(({ e }) => e))).toEqual(new Set(["SecurityError", "DefenseRejected"]))
      expect(refused("credentials") - before).toBe(answers.filter(({ e }) => e === "DefenseRejected").length)
    }))
})
