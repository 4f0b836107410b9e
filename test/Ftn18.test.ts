import * as Schema from "effect/Schema"
import { expect, it } from "vitest"
import { type EventStream, EventType, Generator } from "../src/index.js"
import * as Mac from "../src/layers/ftn18/mac.js"
import { call, connect, macKey, other, request, sec } from "./ftn18/client.js"
import { type Served, served } from "./ftn18/server.js"
import { makeCertificate } from "./support/certificate.js"
import { onEach } from "./support/stream.js"

const gen = "futoin.evt.gen:1.1:addEvent"
const register = "futoin.evt.poll:1.1:registerConsumer"
const poll = "futoin.evt.poll:1.1:pollEvents"
const ready = "futoin.evt.push:1.1:readyToReceive"

const Seen = EventType.make("SEEN", Schema.Unknown)
const Digit = EventType.make("ORDER_2", Schema.Unknown)
const Long = EventType.make("LONGER_THAN_SIXTEEN", Schema.Unknown)

const idsOf = (events: any) => events.map(({ id }: any) => id)

onEach("Ftn18", ({ db, prefix }) => {
  /** A stream of its own, served. */
  const serving = (
    test: (served: Served) => Promise<void>,
    { stream, ...options }: Parameters<typeof served>[2] & { readonly stream?: EventStream.Options } = {}
  ) => served(db().stream({ prefix: prefix(), ...stream }), test, options)

  const add = ({ run, stream }: Served, ...types: ReadonlyArray<EventType.EventType.Any>) =>
    run(stream.generator.addAll(types.map((type, i) => Generator.event(type, i)))).then((ids) => ids.map(String))

  it("data is the text that was sent, whatever numbers it has, in both directions", () =>
    serving(async ({ port }) => {
      const data = `{ "n" : 123456789012345678901234567890.10, "e": 1E40 }`
      const added = await request({ port }, `{"f":"${gen}","p":{"type":"A","data":${data}},"sec":"${sec}"}`)
      expect(added.json).toEqual({ r: expect.stringMatching(/^[1-9]\d*$/) })
      const { body } = await request({ port }, { f: poll, p: { component: "LIVE" }, sec })
      expect(body.toString()).toContain(`"data":${data},"ts"`)
    }))

  it("events that FTN18 has no form for are not shown, do not end a list, and are said once", () =>
    serving(async (served) => {
      const { logs, port } = served
      const [, , , , a] = await add(served, Digit, Long, Digit, Long, Seen, Digit, Digit, Digit)
      expect(await call({ port }, register, { component: "C" })).toBe(true)
      for (const component of ["LIVE", "C"]) {
        const [event, ...more] = await call({ port }, poll, { component })
        expect([event.id, event.type, more]).toEqual([a, "SEEN", []])
        expect(event.ts).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
        expect(await call({ port }, poll, { component, last_id: a })).toEqual([])
      }
      // what nobody can see is acknowledged as well: it holds back no discarding
      const [consumer] = await served.run(served.stream.consumers.list)
      expect(consumer!.lag.events).toBe(0)
      expect(await call({ port }, poll, { component: "LIVE", want: ["ORDER_2"] })).toMatchObject({
        e: "InvalidRequest"
      })

      const receiver = await connect({ port })
      expect(await receiver.ask(register, { component: "R" })).toBe(true)
      expect(await receiver.ask(ready, { component: "R" })).toBe(true)
      expect((await receiver.push()).ids).toEqual([a])
      const said = logs.filter(({ text }) => text.includes("not shown")).map(({ text }) => text)
      expect(said.length).toBe(new Set(said).size)
    }, { pollLimit: 2, pushLimit: 2 }))

  it("a list is empty at the end of the stream only, however little of it is wanted", () =>
    serving(async (served) => {
      const { port } = served
      await call({ port }, register, { component: "C" })
      for (let i = 0; i < 11; i++) await add(served, ...Array.from({ length: 1000 }, () => Digit))
      const [id] = await add(served, Seen)
      expect(idsOf(await call({ port }, poll, { component: "LIVE", want: ["SEEN"] }))).toEqual([id])
      expect(idsOf(await call({ port }, poll, { component: "C", want: ["SEEN"] }))).toEqual([id])
      expect(await call({ port }, poll, { component: "C", want: [] })).toEqual([])
    }))

  it("an id above the end is nothing for LIVE, and a mistake of a registered consumer", () =>
    serving(async (served) => {
      const { port } = served
      const [id] = await add(served, Seen)
      const last_id = "999999999999999999"
      await call({ port }, register, { component: "C" })
      expect(await call({ port }, poll, { component: "LIVE", last_id })).toEqual([])
      expect(await call({ port }, poll, { component: "C", last_id })).toMatchObject({ e: "InvalidRequest" })
      expect(idsOf(await call({ port }, poll, { component: "C" }))).toEqual([id])
    }))

  it("what was erased is null", () =>
    serving(async (served) => {
      const [id] = await add(served, Seen)
      await served.run(served.stream.consumers.redact({ ids: [BigInt(id!)] }))
      const [event] = await call({ port: served.port }, poll, { component: "LIVE" })
      expect(event).toEqual({ id, type: "SEEN", data: null, ts: expect.any(String) })
    }))

  it("LIVE gets exactly what is committed after its call, whoever else writes", () =>
    serving(async (served) => {
      const { port } = served
      let writing = true
      const others = (async () => {
        while (writing) {
          await add(served, Seen)
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
      })()
      for (let i = 0; i < 5; i++) {
        const receiver = await connect({ port })
        await call({ port }, gen, { type: "MINE", data: "before" })
        expect(await receiver.ask(ready, { component: "LIVE", want: ["MINE"] })).toBe(true)
        const id = await call({ port }, gen, { type: "MINE", data: "after" })
        const push = await receiver.push()
        expect([push.seq, push.ids]).toEqual([0, [id]])
        receiver.answer(push, { e: "InternalError" })
        const next = await call({ port }, gen, { type: "MINE", data: "next" })
        expect((await receiver.push()).ids).toEqual([next])
        receiver.ws.terminate()
      }
      writing = false
      await others
    }))

  it("what was not acknowledged comes again on the next connection, and nothing else", () =>
    serving(async (served) => {
      const { port } = served
      const ids = await add(served, Seen, Seen, Seen, Seen)
      let receiver = await connect({ port })
      await receiver.ask(register, { component: "R" })
      await receiver.ask(ready, { component: "R" })
      const first = await receiver.push()
      receiver.answer(first)
      await receiver.push()
      receiver.ws.terminate()
      receiver = await connect({ port })
      await receiver.ask(ready, { component: "R" })
      const again = await receiver.push()
      expect([first.ids, again.seq, again.ids]).toEqual([ids.slice(0, 2), 0, ids.slice(2)])
      // a handler that fails gets the same events with the same number
      receiver.answer(again, { e: "InternalError", edesc: "Not expected error" })
      const third = await receiver.push()
      expect([third.seq, third.ids]).toEqual([0, ids.slice(2)])
      expect(third.message.rid).not.toBe(again.message.rid)
      expect(Object.keys(third.message).sort()).toEqual(["f", "p", "rid"])
    }, { pushLimit: 2 }))

  it("a client whose own connection is dead without anybody knowing takes its place", () =>
    serving(async (served) => {
      const { port } = served
      const ids = await add(served, Seen)
      const dead = await connect({ port })
      await dead.ask(register, { component: "R" })
      await dead.ask(ready, { component: "R" })
      expect((await dead.push()).ids).toEqual(ids)
      const alive = await connect({ port })
      expect(await alive.ask(ready, { component: "R" })).toBe(true)
      const push = await alive.push()
      expect([push.seq, push.ids]).toEqual([0, ids])
      expect(await dead.closed).toEqual({ code: 1008, reason: "another receiver is active" })
      alive.answer(push)
      const [next] = await add(served, Seen)
      expect((await alive.push()).ids).toEqual([next])
    }))

  it("a second readyToReceive on a connection replaces the first", () =>
    serving(async (served) => {
      const receiver = await connect({ port: served.port })
      await receiver.ask(register, { component: "R" })
      for (const want of [["OTHER"], ["SEEN"]]) expect(await receiver.ask(ready, { component: "R", want })).toBe(true)
      const [id] = await add(served, Seen)
      const push = await receiver.push()
      expect([push.seq, push.ids]).toEqual([0, [id]])
      receiver.answer(push)
      for (let i = 0; i < 2; i++) expect(await receiver.ask(ready, { component: "LIVE" })).toBe(true)
      for (const type of ["A", "B"]) {
        const added = await call({ port: served.port }, gen, { type, data: 1 })
        const live = await receiver.push()
        expect([live.seq, live.ids]).toEqual([type === "A" ? 0 : 1, [added]])
        receiver.answer(live)
      }
    }))

  it("a receiver of a paused consumer is ready, and gets its events when it goes on", () =>
    serving(async (served) => {
      const { run, stream } = served
      const receiver = await connect({ port: served.port })
      const consumer = { user: "evtuser", component: "R" }
      await receiver.ask(register, { component: "R" })
      await run(stream.consumers.pause(consumer, "for a test"))
      const [id] = await add(served, Seen)
      expect(await receiver.ask(ready, { component: "R" })).toBe(true)
      await run(stream.consumers.resume(consumer))
      expect((await receiver.push()).ids).toEqual([id])
    }))

  it("a consumer that is removed meanwhile is told, and so is the log", () =>
    serving(async (served) => {
      const { run, stream } = served
      const receiver = await connect({ port: served.port })
      await receiver.ask(register, { component: "R" })
      await receiver.ask(ready, { component: "R" })
      await run(stream.poller.unregister({ user: "evtuser", component: "R" }))
      await add(served, Seen)
      receiver.answer(await receiver.push())
      expect((await receiver.closed).code).toBe(1013)
      const back = await connect({ port: served.port })
      expect(await back.ask(ready, { component: "R" })).toMatchObject({ e: "NotRegistered" })
    }, { refusalDelay: 0 }))

  it("a user sees and moves its own consumers only", () =>
    serving(async (served) => {
      const { port } = served
      const [id] = await add(served, Seen)
      await call({ port }, register, { component: "C" })
      const none = await call({ port }, poll, { component: "NOBODYS" }, other)
      const theirs = await call({ port }, poll, { component: "C", last_id: id }, other)
      // nothing tells that there is one
      expect([none, theirs]).toEqual(Array.from({ length: 2 }, () => ({ e: "NotRegistered", edesc: none.edesc })))
      expect(idsOf(await call({ port }, poll, { component: "C" }))).toEqual([id])
    }))

  it("rights are the user's: by type, without polling, without registration", () =>
    serving(async ({ port }) => {
      const pushed = "pushed:evtpass"
      const live = "onlylive:evtpass"
      expect(await call({ port }, gen, { type: "A", data: 1 }, pushed)).toMatchObject({ e: "SecurityError" })
      expect(await call({ port }, register, { component: "C" }, pushed)).toBe(true)
      expect(await call({ port }, poll, { component: "C" }, pushed)).toEqual({
        e: "SecurityError",
        edesc: "Only event push is allowed"
      })
      expect(await call({ port }, gen, { type: "A", data: 1 }, live)).toMatch(/^\d+$/)
      expect(await call({ port }, gen, { type: "B", data: 1 }, live)).toMatchObject({ e: "SecurityError" })
      expect(await call({ port }, poll, { component: "LIVE" }, live)).toHaveLength(1)
      expect(await call({ port }, register, { component: "C" }, live)).toEqual({
        e: "SecurityError",
        edesc: "Only LIVE delivery is allowed"
      })
    }, { refusalDelay: 0 }))

  it("what is too long for a version stops its consumer before it, and both sides are told", () =>
    serving(async (served) => {
      const { logs, port, run, stream } = served
      const [small] = await add(served, Seen)
      const [large] = await run(stream.generator.addAll([Generator.event(Seen, "x".repeat(100_000))]))
      const polls10 = "futoin.evt.poll:1.0:pollEvents"
      await call({ port }, register, { component: "C" })
      expect(idsOf(await call({ port }, polls10, { component: "C" }))).toEqual([small])
      const refusal = await call({ port }, polls10, { component: "C", last_id: small })
      expect(refusal.e).toBe("InvalidRequest")
      expect(refusal.edesc).toContain(`Event ${large} takes 100`)
      expect(idsOf(await call({ port }, poll, { component: "C" }))).toEqual([String(large)])

      const old = await connect({ port })
      await old.ask("futoin.evt.push:1.0:registerConsumer", { component: "R" })
      await old.ask("futoin.evt.push:1.0:readyToReceive", { component: "R" })
      const push = await old.push()
      expect([push.message.f, push.ids]).toEqual(["futoin.evt.receiver:1.0:onEvents", [small]])
      old.answer(push)
      const { code, reason } = await old.closed
      expect([code, reason]).toEqual([1013, expect.stringContaining(`event ${large} takes 100`)])
      expect(logs.some(({ level, text }) => level === "ERROR" && text.includes(`event ${large}`))).toBe(true)
      const recent = await connect({ port })
      await recent.ask(ready, { component: "R" })
      expect((await recent.push()).ids).toEqual([String(large)])
    }, { stream: { maxDataBytes: 200_000 } }))

  it("who signs its requests gets signed answers, errors as well, on both transports", () =>
    serving(async ({ port }) => {
      const signed = (message: object, key = macKey, name = "SHA256") => ({
        ...message,
        sec: `-hmac:evthmac:${name}:${Mac.sign(name.toLowerCase(), key, message as any)}`
      })
      const ask = async (message: object) => (await request({ port }, message)).json
      for (
        const message of [
          { f: gen, p: { type: "A", data: { b: [null, 1.5], a: "я" } } },
          { f: poll, p: { component: "LIVE" } },
          { f: poll, p: { component: "C" } },
          { f: gen, p: { type: "lower", data: 1 }, rid: "C1" }
        ]
      ) {
        const { sec, ...answer } = await ask(signed(message))
        expect(sec).toBe(Mac.sign("sha256", macKey, answer))
      }
      const wrong = await ask(signed({ f: gen, p: { type: "A", data: 1 } }, Buffer.from("not the key at all")))
      expect(wrong).toEqual({ e: "SecurityError", edesc: "Legacy Signature Verification Failed" })
      const socket = await connect({ port })
      const answer = new Promise<any>((resolve) =>
        socket.ws.once("message", (data) => resolve(JSON.parse(String(data))))
      )
      socket.send(signed({ f: "futoin.ping:1.0:ping", p: { echo: 3 }, rid: "C9" }))
      expect(await answer).toEqual({
        r: { echo: 3 },
        rid: "C9",
        sec: Mac.sign("sha256", macKey, { r: { echo: 3 }, rid: "C9" })
      })
    }))

  it("without TLS, and without a proxy that has it, nothing is added", async () => {
    const certificate = makeCertificate()
    await serving(async ({ port }) => {
      expect(await call({ port }, gen, { type: "A", data: 1 })).toEqual({
        e: "SecurityError",
        edesc: "Insecure channel"
      })
      expect(await call({ port }, poll, { component: "LIVE" })).toEqual([])
    }, { secureChannel: "tls" })
    await serving(async ({ port }) => {
      const target = { port, ca: certificate.cert, path: "/ftn18/" }
      const id = await call(target, gen, { type: "A", data: 1 })
      const socket = await connect(target)
      expect(idsOf(await socket.ask(poll, { component: "LIVE" }))).toEqual([id])
      socket.ws.terminate()
    }, { secureChannel: "tls", tls: certificate, path: "/ftn18" })
  })

  it("its end is not held up by a receiver that does not answer", async () => {
    let receiver: Awaited<ReturnType<typeof connect>> | undefined
    await serving(async (served) => {
      await add(served, Seen)
      receiver = await connect({ port: served.port })
      await receiver.ask(register, { component: "R" })
      await receiver.ask(ready, { component: "R" })
      await receiver.push()
    })
    expect((await receiver!.closed).code).toBe(1001)
  })
})
