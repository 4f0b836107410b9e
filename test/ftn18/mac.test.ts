import { describe, expect, it } from "vitest"
import * as Mac from "../../src/layers/ftn18/mac.js"

const key = Buffer.from("0123456789abcdef0123456789abcdef")
const request = {
  f: "futoin.evt.gen:1.1:addEvent",
  p: { type: "HMAC_EVT", data: { b: [1, { z: "я", a: null }], a: 1.5, c: true, n: null } },
  rid: "C2"
}

describe("Mac", () => {
  it("the codes that the original client has computed", () => {
    expect(Mac.base({ ...request, sec: "-hmac:evthmac:MD5:x" })).toBe(
      "f:futoin.evt.gen:1.1:addEvent;p:data:a:1.5;b:0:1;1:z:я;;;c:true;;type:HMAC_EVT;;rid:C2;"
    )
    expect(Mac.sign("md5", key, request)).toBe("o+F7yptBKlT6/B8VtNNRtA==")
    expect(Mac.base({ r: "1", rid: "C2" })).toBe("r:1;rid:C2;")
    expect(Mac.sign("md5", key, { r: "1", rid: "C2" })).toBe("av63sFiH5n0DzjC+PqsWLg==")
  })

  it("a code fits its message and its key, and nothing else", () => {
    const sent = Mac.parse(`-hmac:evthmac:SHA256:${Mac.sign("sha256", key, request)}`)!
    expect(sent.user).toBe("evthmac")
    expect(Mac.verifies(sent, key, request)).toBe(true)
    expect(Mac.verifies(sent, key, { ...request, rid: "C3" })).toBe(false)
    expect(Mac.verifies(sent, Buffer.from("another key of 16 bytes or more"), request)).toBe(false)
    expect(Mac.verifies({ ...sent, code: sent.code.subarray(1) }, key, request)).toBe(false)
  })

  it("knows the algorithms of both schemes, and refuses the rest", () => {
    for (const [name, function_] of [["MD5", "md5"], ["SHA512", "sha512"], ["HMD5", "md5"], ["HS384", "sha384"]]) {
      expect(Mac.parse(`-smac:u:${name}:AAAA`)?.algorithm).toBe(function_)
    }
    for (const wrong of ["-hmac", "-hmac:u", "-hmac:u:ROT13:AAAA", "-hmac:u:constructor:AA", "-hmac:u:MD5:AA:AA"]) {
      expect(Mac.parse(wrong)).toBeUndefined()
    }
  })
})
