import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { createDatabase, type TestDatabase } from "../support/backends.js"
import { call, connect, request, sec } from "./client.js"
import { served } from "./server.js"

const gen = "futoin.evt.gen:1.1:addEvent"
const ready = "futoin.evt.push:1.1:readyToReceive"

describe("Ftn18, what is checked, and in which order", () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await createDatabase("sqlite")
  })
  afterAll(() => db.drop())

  const wrong = "evtuser:wrong"
  const anonymous = ""
  const bad = { type: "lower", zzz: 1 }
  /** Each has the faults of those after it, too. */
  it.each<readonly [string, unknown, string, string, string]>([
    ["no.such:1.0:x", null, wrong, "SecurityError", "Basic Auth Verification Failed"],
    [gen, null, "nocolon", "SecurityError", "Basic Auth Verification Failed"],
    [gen, null, "-internal", "SecurityError", "Not internal channel"],
    [gen, null, "-hmac:evthmac:MD5:AAAA", "SecurityError", "Legacy Signature Verification Failed"],
    [gen, null, "-mmac:1:MD5:a:b:c", "NotImplemented", "Authentication is not enabled"],
    ["a:b", null, anonymous, "InvalidRequest", "Invalid req.f"],
    ["a:b:c", null, anonymous, "InvalidRequest", "Invalid req.f (version)"],
    ["no.such:1.0:x", null, anonymous, "UnknownInterface", "Unknown interface: no.such"],
    ["futoin.evt.gen:2.0:x", null, anonymous, "UnknownInterface", "Unknown interface: futoin.evt.gen"],
    ["futoin.evt.gen:1.2:x", null, anonymous, "UnknownInterface", "Unknown interface: futoin.evt.gen"],
    ["futoin.evt.gen:1.1:x", null, anonymous, "UnknownInterface", "Unknown interface: futoin.evt.gen"],
    ["no.such:1.0:x", null, sec, "UnknownInterface", "Unknown interface: no.such"],
    ["futoin.evt.gen:2.0:x", null, sec, "NotSupportedVersion", "Different major version: futoin.evt.gen:2"],
    ["futoin.evt.gen:1.2:x", null, sec, "NotSupportedVersion", "Iface version is too old: futoin.evt.gen:1.2"],
    ["futoin.evt.gen:1.10:x", null, sec, "NotSupportedVersion", "Iface version is too old: futoin.evt.gen:1.10"],
    ["futoin.evt.gen:1.1:toString", null, sec, "InvalidRequest", "Unknown interface function: toString"],
    ["futoin.evt.poll:1.1:readyToReceive", null, sec, "InvalidRequest", "Unknown interface function: readyToReceive"],
    [gen, null, anonymous, "SecurityError", "Insecure channel"],
    [gen, null, sec, "SecurityError", "Insecure channel"],
    [ready, null, anonymous, "SecurityError", "Anonymous not allowed"],
    [ready, null, sec, "InvalidRequest", "Bi-Direct Channel is required"]
  ])("%s with %j by %s", (f, p, who, e, edesc) =>
    served(db.stream(), async ({ port }) => {
      const message = { f, p, ...(who === anonymous ? {} : { sec: who }), zzz: 1 }
      expect((await request({ port }, message)).json).toEqual({ e, edesc })
    }, { secureChannel: "tls", refusalDelay: 0 }))

  it("parameters: unknown ones, those that are missing, those that do not fit, then fields of the request", () =>
    served(db.stream(), async ({ port }) => {
      const of = async (p: unknown, more: object = {}) => {
        const { json } = await request({ port }, { f: gen, p, sec, ...more })
        expect(json.e).toBe("InvalidRequest")
        return json.edesc
      }
      for (const p of [undefined, null, "x", []]) expect(await of(p)).toBe("Invalid message: p")
      expect(await of(bad)).toBe(`Unknown parameter: ${gen}(zzz)`)
      expect(await of({ type: "A" })).toBe(`Missing parameter: ${gen}(data)`)
      expect(await of({ type: "lower", data: 1 })).toBe(`Type mismatch for parameter: ${gen}(type) = "lower"`)
      expect(await of({ type: "A", data: 1 }, { zzz: 1 })).toBe("Unknown request field: zzz")
      const known = { obf: { lid: "2" }, forcersp: true, rid: "X" }
      const answer = (await request({ port }, { f: gen, p: { type: "A", data: null }, sec, ...known })).json
      expect(answer).toEqual({ r: expect.stringMatching(/^\d+$/), rid: "X" })
    }))

  it("the right of a user is the last thing that is asked for", () =>
    served(db.stream(), async ({ port }) => {
      const pushed = "pushed:evtpass"
      expect(await call({ port }, gen, { type: "lower", data: 1 }, pushed)).toMatchObject({ e: "InvalidRequest" })
      expect(await call({ port }, gen, { type: "A", data: 1 }, pushed)).toMatchObject({ e: "SecurityError" })
    }))

  it("an answer to a receiver that cannot be served is held back, others are not", () =>
    served(db.stream(), async ({ port }) => {
      const client = await connect({ port })
      let told = false
      void client.ask(ready, { component: "NOBODY" }).then(() => (told = true))
      for (let i = 0; i < 20; i++) {
        expect(await client.ask("futoin.evt.poll:1.1:pollEvents", { component: "NOBODY" })).toMatchObject({
          e: "NotRegistered"
        })
      }
      expect(told).toBe(false)
      client.ws.terminate()
    }, { refusalDelay: "1 hour" }))

  it("the form of an URL: credentials in the path or as Basic, values as text or JSON", () =>
    served(db.stream(), async ({ port }) => {
      const get = async (path: string, headers: Record<string, string> = {}) =>
        (await request({ port, path: `/api${path}` }, "", { method: "GET", headers })).json
      const user = encodeURIComponent(sec)
      const authorization = `Basic ${Buffer.from(sec).toString("base64")}`
      expect(await get("/futoin.ping/1.0/ping?echo=5", { authorization })).toEqual({ r: { echo: 5 } })
      expect(await get(`/futoin.ping/1.0/ping/${user}?echo=6`)).toEqual({ r: { echo: 6 } })
      const id = (await get(`/futoin.evt.gen/1.1/addEvent/${user}?type=URL&data=%7B%22x%22%3A1%7D`)).r
      expect(id).toMatch(/^\d+$/)
      const polled = await get(`/futoin.evt.poll/1.1/pollEvents/${user}?component=LIVE&want=%5B%22URL%22%5D`)
      expect(polled.r.map((event: any) => event.id)).toEqual([id])
      expect(await get("/futoin.ping/1.0/ping?echo=5")).toMatchObject({ e: "SecurityError" })
      expect((await request({ port, path: "/api" }, "", { method: "GET" })).status).toBe(400)
      expect((await request({ port, path: "/elsewhere" }, "{}")).status).toBe(404)
    }, { path: "/api/" }))
})
