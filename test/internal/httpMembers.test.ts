import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { read } from "../../src/layers/http/members.js"

const right = (text: string) => Either.getOrThrowWith(read(text), (wrong) => new Error(wrong))

describe("Members of JSON objects as they were written", () => {
  it("keeps numbers, escapes and white space inside of a value", () => {
    const { list, objects } = right(
      ` { "a" : 12345678901234567890.10 , "\\u0062":  {"x": [1, 2 ],\n "y":"}\\"]\\\\" } ,"c":"\\u00e9\\/",
        "d":-0,"e":1E400,"f":true,"g":null,"h":[],"i":{} } `
    )
    expect(list).toBe(false)
    expect(objects.length).toBe(1)
    expect([...objects[0]!]).toEqual([
      ["a", "12345678901234567890.10"],
      ["b", "{\"x\": [1, 2 ],\n \"y\":\"}\\\"]\\\\\" }"],
      ["c", "\"\\u00e9\\/\""],
      ["d", "-0"],
      ["e", "1E400"],
      ["f", "true"],
      ["g", "null"],
      ["h", "[]"],
      ["i", "{}"]
    ])
  })

  it("reads lists, empty ones too, and takes the last of two members with one name", () => {
    expect(right(" [ ] ").objects).toEqual([])
    expect(right("[{},{\"a\":1}]").objects.map((members) => [...members])).toEqual([[], [["a", "1"]]])
    expect([...right("{\"a\":1,\"a\":2}").objects[0]!]).toEqual([["a", "2"]])
  })

  it("says what is wrong", () => {
    for (const text of ["", "{", "1", "null", "\"x\"", "[1]", "[[]]", "{\"a\":1,}", "{\"a\":01}", "{}{}"]) {
      expect(Either.isLeft(read(text)), text).toBe(true)
    }
  })

  it("finds what JSON.parse finds, whatever the object and however it is written", () => {
    const value = FastCheck.jsonValue({ maxDepth: 4 })
    const space = FastCheck.constantFrom(undefined, 1, "\t", "\r\n ")
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.dictionary(FastCheck.string(), value)), space, (objects, space) => {
        const found = right(JSON.stringify(objects, null, space)).objects.map((members) =>
          Object.fromEntries([...members].map(([name, text]) => {
            expect(text).toBe(text.trim())
            return [name, JSON.parse(text)]
          }))
        )
        expect(JSON.stringify(found)).toBe(JSON.stringify(objects))
      }),
      { numRuns: 500 }
    )
  })

  it("never throws, whatever the text", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.oneof(FastCheck.string(), FastCheck.json(), FastCheck.json().map((text) => text.slice(1))),
        (text) => {
          const found = read(text)
          if (Either.isLeft(found)) return
          expect(JSON.parse(text)).toBeDefined()
        }
      ),
      { numRuns: 1000 }
    )
  })
})
