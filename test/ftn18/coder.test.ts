import * as FastCheck from "fast-check"
import { Packr, Unpackr } from "msgpackr"
import { describe, expect, it } from "vitest"
import { Malformed } from "../../src/layers/ftn18/bytes.js"
import { cbor, type Coder, coderOf, json, msgpack } from "../../src/layers/ftn18/coder.js"
import { EventList, type WireEvent } from "../../src/layers/ftn18/events.js"

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex")
const wire = (data: string): WireEvent => {
  const json = `{"id":"1","type":"A","data":${data},"ts":"2026-11-25T00:00:00Z"}`
  return { id: "1", type: "A", data, ts: "2026-11-25T00:00:00Z", json, bytes: Buffer.byteLength(json) }
}

/** Whatever JSON has; −0 is 0 in its texts. */
const values = FastCheck.jsonValue({ maxDepth: 5 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown)

describe.each<readonly [string, Coder]>([["JSON", json], ["MessagePack", msgpack], ["CBOR", cbor]])(
  "%s",
  (_, coder) => {
    it("gives back what it was given, and is found by the first bytes", () => {
      FastCheck.assert(FastCheck.property(values, (value) => {
        const bytes = coder.encode({ r: value })
        expect(coderOf(bytes)).toBe(coder)
        expect(coder.decode(bytes).value).toEqual({ r: value })
      }))
    })

    it("messages of every length", () => {
      for (const value of [0.1, 70_000, 2 ** 40, -5, "é", null, {}]) {
        for (let n = 0; n < 3000; n += 37) {
          const r = Array.from({ length: n }, () => value)
          expect(coder.decode(coder.encode({ r })).value).toEqual({ r })
        }
      }
    })

    it("a message that is cut anywhere is malformed", () => {
      const bytes = coder.encode({ f: "futoin.ping:1.0:ping", p: { echo: 70_000, x: [1.5, null, "é"] }, rid: "C1" })
      for (let n = 4; n < bytes.length; n++) expect(() => coder.decode(bytes.subarray(0, n))).toThrow(Malformed)
      expect(() => coder.decode(Buffer.concat([bytes, Buffer.from([0])]))).toThrow(Malformed)
    })

    it("an event in a list takes as many bytes as it is said to", () => {
      for (const data of ["1", `"${"é".repeat(300)}"`, "[0.1,0.1,0.1,0.1,0.1,0.1]", "null"]) {
        const event = wire(data)
        const grown = coder.encode({ r: new EventList([event, event]) }).length -
          coder.encode({ r: new EventList([event]) }).length
        expect(grown - coder.sizeOf(event)).toBeLessThanOrEqual(1)
        expect(grown).toBeGreaterThanOrEqual(coder.sizeOf(event))
      }
    })

    it("__proto__ is a name as any other", () => {
      const bytes = coder.encode(JSON.parse(`{"__proto__":{"x":1},"a":2}`))
      const { value } = coder.decode(bytes) as { value: any }
      expect(Object.keys(value)).toEqual(["__proto__", "a"])
      expect(value.x).toBeUndefined()
    })

    it("nested as deep as events may be, and no deeper", () => {
      const nested = (depth: number) => Array.from({ length: depth }).reduce<unknown>((inner) => [inner], 1)
      expect(() => coder.decode(coder.encode({ r: nested(505) }))).not.toThrow()
      expect(() => coder.decode(coder.encode({ r: nested(511) }))).toThrow(Malformed)
    })
  }
)

describe("MessagePack", () => {
  it("is what others write and read", () => {
    const packr = new Packr({ useRecords: false })
    const unpackr = new Unpackr({ useRecords: false, int64AsType: "number" })
    FastCheck.assert(FastCheck.property(values, (value) => {
      expect(msgpack.decode(Buffer.concat([Buffer.from("MPCK"), packr.pack(value)])).value).toEqual(value)
      expect(unpackr.unpack(msgpack.encode({ r: value }).subarray(4))).toEqual({ r: value })
    }))
    // as captured from the original client
    expect(msgpack.decode(hex("4d50434b 82 a172 81 a46563686f 05 a3726964 a24331")).value).toEqual({
      r: { echo: 5 },
      rid: "C1"
    })
    expect(msgpack.encode({ r: { echo: 5 }, rid: "C1" })).toEqual(
      new Uint8Array(hex("4d50434b 82 a172 81 a46563686f 05 a3726964 a24331"))
    )
    for (const n of [-33, -32, -1, 127, 128, 255, 256, 65_536, -32_769, 2 ** 40, -(2 ** 40), Number.MAX_SAFE_INTEGER]) {
      expect(unpackr.unpack(msgpack.encode({ n }).subarray(4))).toEqual({ n })
      expect(msgpack.decode(msgpack.encode({ n })).value).toEqual({ n })
    }
  })

  it.each([
    ["bytes", "c4 01 00"],
    ["an extension", "d4 01 00"],
    ["a time stamp", "d6 ff 00000000"],
    ["undefined, as some write it", "d4 00 00"],
    ["a name that is no text", "81 01 01"],
    ["NaN", "cb 7ff8000000000000"],
    ["an integer of 64 bits that a number does not hold", "cf 0fffffffffffffff"],
    ["text that is no UTF-8", "a1 ff"],
    ["an array of four billion", "dd ffffffff"],
    ["a map of four billion", "df ffffffff"],
    ["a text of four billion", "db ffffffff"]
  ])("refuses %s", (_, bytes) => {
    expect(() => msgpack.decode(Buffer.concat([Buffer.from("MPCK"), hex(bytes)]))).toThrow(Malformed)
  })

  it("does not take memory for what a message only claims to have", () => {
    // arrays of 65 535 within each other: made at once they would take 10 GB
    const bytes = Buffer.concat([Buffer.from("MPCK"), Buffer.alloc(60_000, hex("dcffff"))])
    const before = process.memoryUsage().heapUsed
    expect(() => msgpack.decode(bytes)).toThrow(Malformed)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50_000_000)
  })
})

describe("CBOR", () => {
  // RFC 8949, appendix A
  it.each<readonly [string, unknown]>([
    ["1a000f4240", 1_000_000],
    ["1b000000e8d4a51000", 1_000_000_000_000],
    ["3903e7", -1000],
    ["f90001", 5.960464477539063e-8],
    ["f93e00", 1.5],
    ["f97bff", 65_504],
    ["f9c400", -4],
    ["fa47c35000", 100_000],
    ["fbc010666666666666", -4.1],
    ["f4", false],
    ["f6", null],
    ["62c3bc", "ü"],
    ["83010203", [1, 2, 3]],
    ["a26161016162820203", { a: 1, b: [2, 3] }]
  ])("reads %s", (bytes, expected) => {
    expect(cbor.decode(Buffer.concat([Buffer.from("CBOR"), hex(bytes)])).value).toEqual(expected)
  })

  it.each([
    ["bytes", "4101"],
    ["a tag", "c001"],
    ["undefined", "f7"],
    ["infinity", "f97c00"],
    ["indefinite length", "9f01ff"],
    ["an array of 2^32", "9b0000000100000000"],
    ["a name that is no text", "a10101"]
  ])("refuses %s", (_, bytes) => {
    expect(() => cbor.decode(Buffer.concat([Buffer.from("CBOR"), hex(bytes)]))).toThrow(Malformed)
  })
})

describe("the data of an event", () => {
  const dataOf = (text: string) => json.decode(Buffer.from(text)).data()

  it("is the text that was sent", () => {
    expect(dataOf(`{"f":"x","p":{"type":"A","data":12345678901234567890.10},"rid":"C1"}`)).toBe(
      "12345678901234567890.10"
    )
    expect(dataOf(` { "p" : { "data" : { "a" : [ 1 , "}\\"" ] } , "type":"A" } } `)).toBe(`{ "a" : [ 1 , "}\\"" ] }`)
    expect(dataOf(`{"x":{"p":{"data":1}},"p":{"a":{"data":2},"d\\u0061ta":3}}`)).toBe("3")
  })

  it("is the last of several, as JSON has it", () => {
    expect(dataOf(`{"p":{"data":1,"data":2},"p":{"data":3,"data":4}}`)).toBe("4")
  })

  it("is what JSON.parse finds there", () => {
    FastCheck.assert(FastCheck.property(values, FastCheck.dictionary(FastCheck.string(), values), (data, others) => {
      const p = { ...others, data }
      for (const space of [0, 1]) {
        expect(JSON.parse(dataOf(JSON.stringify({ ...others, p }, null, space))!)).toEqual(data)
      }
    }))
  })
})
