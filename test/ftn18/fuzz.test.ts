/**
 * Whatever comes, the server answers who is right: requests with something wrong in them, random bytes, messages cut short,
 * over HTTP and WebSocket. A few seconds; as many as EVT_FUZZ_SECONDS says.
 */
import * as FastCheck from "fast-check"
import { expect, it } from "vitest"
import { cbor, json, msgpack } from "../../src/layers/ftn18/coder.js"
import { createDatabase } from "../support/backends.js"
import { call, connect, other, request, sec, type Socket } from "./client.js"
import { served } from "./server.js"

const seconds = Number(process.env.EVT_FUZZ_SECONDS ?? 3)

const one = FastCheck.constantFrom
const interfaceName = one(
  "futoin.ping",
  "futoin.evt.gen",
  "futoin.evt.poll",
  "futoin.evt.push",
  "futoin.evt",
  "__proto__"
)
const version = one("1.0", "1.1", "1.2", "2.0", "1", "99999999999.1", "-1.0", "")
const functionName = one("ping", "addEvent", "registerConsumer", "pollEvents", "readyToReceive", "toString", "")
const component = one("LIVE", "C1", "C2", "", "a b", "x".repeat(17), "__proto__")
const eventType = one("A", "SEEN", "lower", "", "A1", "ABCDEFGHIJKLMNOPQ")
const id = one("1", "2", "0", "999999999999999999", "1234567890123456789", "-1", "1e3")
const any = FastCheck.jsonValue({ maxDepth: 4 })

/** One that exists, in half of the cases. */
const name = FastCheck.oneof(
  one(
    "futoin.ping:1.0:ping",
    "futoin.evt.gen:1.1:addEvent",
    "futoin.evt.poll:1.1:registerConsumer",
    "futoin.evt.poll:1.0:pollEvents",
    "futoin.evt.push:1.1:pollEvents",
    "futoin.evt.push:1.0:readyToReceive"
  ),
  FastCheck.tuple(interfaceName, version, functionName).map((parts) => parts.join(":"))
)
const values = {
  echo: FastCheck.oneof(FastCheck.integer(), any),
  type: FastCheck.oneof(eventType, any),
  data: any,
  component: FastCheck.oneof(component, any),
  last_id: FastCheck.oneof(id, any),
  want: FastCheck.oneof(FastCheck.array(eventType), any)
}
const { component: of, data, echo, last_id, type, want } = values
/** Those of one function, or any: one that is not known is refused before the others are looked at. */
const parameters = FastCheck.oneof(
  FastCheck.record({ echo }),
  FastCheck.record({ type, data }),
  FastCheck.record({ component: of, last_id, want }, { requiredKeys: ["component"] }),
  FastCheck.record(values, { requiredKeys: [] })
)
const credentials = one(
  sec,
  sec,
  sec,
  other,
  "evtuser:wrong",
  "-internal",
  "-hmac:evthmac:MD5:AAAA",
  "-hmac::",
  "x",
  ""
)

/** A request in which everything may be wrong. */
const wild = FastCheck.record({
  f: FastCheck.oneof({ weight: 4, arbitrary: name }, { weight: 1, arbitrary: any }),
  p: FastCheck.oneof({ weight: 4, arbitrary: parameters }, { weight: 1, arbitrary: any }),
  rid: FastCheck.oneof(one("C1000", "S1", "", "x"), any),
  sec: FastCheck.oneof({ weight: 4, arbitrary: credentials }, { weight: 1, arbitrary: any }),
  obf: any,
  forcersp: any,
  zzz: any
}, { requiredKeys: ["f", "p"] })

const right: ReadonlyArray<readonly [string, object]> = [
  ["futoin.ping:1.0:ping", { echo: 1 }],
  ["futoin.evt.gen:1.1:addEvent", { type: "A", data: {} }],
  ["futoin.evt.poll:1.1:registerConsumer", { component: "C1" }],
  ["futoin.evt.poll:1.0:pollEvents", { component: "LIVE", last_id: "1", want: ["A"] }],
  ["futoin.evt.push:1.1:pollEvents", { component: "C1", last_id: "1", want: ["A"] }],
  ["futoin.evt.push:1.0:readyToReceive", { component: "LIVE", want: ["A"] }]
]
/** A request that is right but for one or two things: what is wrong stands alone, and is not hidden by what is checked before. */
const nearlyRight = FastCheck.tuple(
  one(...right),
  one(sec, sec, sec, other),
  FastCheck.array(FastCheck.tuple(FastCheck.nat(11), any), { minLength: 1, maxLength: 2 })
).map(([[f, p], who, faults]) => {
  const parameters: Record<string, unknown> = { ...p }
  const message: Record<string, unknown> = { f, p: parameters, rid: "C1000", sec: who }
  for (const [place, value] of faults) {
    const names = [...Object.keys(parameters), ...Object.keys(parameters), "zzz"]
    const fields = ["f", "p", "rid", "sec", "obf"]
    if (place < 8) parameters[names[place % names.length]!] = value
    else message[fields[(place - 8) % fields.length]!] = value
  }
  return message
})
const message = FastCheck.oneof(wild, { weight: 3, arbitrary: nearlyRight })

const encoded = FastCheck.tuple(message, one(json, msgpack, cbor)).map(([message, coder]) =>
  Buffer.from(coder.encode(message))
)
const cut = FastCheck.tuple(encoded, FastCheck.nat(200)).map(([bytes, n]) => bytes.subarray(0, -n - 1))
const flipped = FastCheck.tuple(encoded, FastCheck.nat(), FastCheck.integer({ min: 1, max: 255 })).map(
  ([bytes, at, bits]) => {
    const copy = Buffer.from(bytes)
    copy[at % copy.length]! ^= bits
    return copy
  }
)
const noise = FastCheck.tuple(one("", "{", "[", "MPCK", "CBOR"), FastCheck.uint8Array({ maxLength: 2000 })).map(
  ([mark, bytes]) => Buffer.concat([Buffer.from(mark), bytes])
)
const bytes = FastCheck.oneof({ weight: 3, arbitrary: encoded }, cut, flipped, noise)

const path = FastCheck.tuple(
  FastCheck.array(FastCheck.oneof(interfaceName, version, functionName, FastCheck.webSegment()), { maxLength: 6 }),
  FastCheck.webQueryParameters()
).map(([parts, query]) => `/${parts.map(encodeURIComponent).join("/")}?${query}`)

it(`nothing that comes in disturbs who comes after it (${seconds} s)`, async () => {
  const db = await createDatabase("sqlite")
  await served(db.stream(), async ({ logs, port }) => {
    let socket: Socket | undefined
    let runs = 0
    /** One that is open: what came before may have closed it. */
    const opened = async () => {
      if (socket === undefined || socket.ws.readyState !== socket.ws.OPEN) socket = await connect({ port })
      return socket
    }
    const pinged = async () => {
      // closed in the same moment: then it is a new connection that has to answer
      while (true) {
        const answer = await (await opened()).ask("futoin.ping:1.0:ping", { echo: runs })
        if (answer.e !== "CommError") return answer
      }
    }
    await FastCheck.assert(
      FastCheck.asyncProperty(bytes, path, async (bytes, path) => {
        runs++
        const answer = await request({ port }, bytes)
        expect(answer.status).toBe(200)
        expect([400, 404, 200]).toContain((await request({ port, path }, "", { method: "GET" })).status)
        ;(await opened()).ws.send(bytes, { binary: runs % 2 === 0 })
        expect(await pinged()).toEqual({ echo: runs })
        expect(await call({ port }, "futoin.ping:1.0:ping", { echo: runs })).toEqual({ echo: runs })
      }),
      { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false }
    )
    expect(runs).toBeGreaterThan(10)
    const id = await call({ port }, "futoin.evt.gen:1.1:addEvent", { type: "LAST", data: runs })
    const polled = await call({ port }, "futoin.evt.poll:1.1:pollEvents", { component: "LIVE", want: ["LAST"] })
    expect(polled.map((event: any) => [event.id, event.data])).toEqual([[id, runs]])
    expect(logs.filter(({ level }) => level === "ERROR" || level === "FATAL")).toEqual([])
    socket?.ws.terminate()
  }, { refusalDelay: 0 })
  await db.drop()
}, (seconds + 60) * 1000)
