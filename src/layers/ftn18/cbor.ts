/**
 * CBOR (RFC 8949), as far as it says what JSON can say: no byte strings, no tags, nothing of indefinite length.
 */
import { Malformed, Reader, Writer } from "./bytes.js"

const sizes = { 24: 1, 25: 2, 26: 4, 27: 8 } as const

const read = (from: Reader): unknown => {
  const next = () => read(from)
  const head = from.uint(1)
  const major = head >> 5
  const info = head & 31
  if (major === 7) {
    switch (info) {
      case 20:
        return false
      case 21:
        return true
      case 22:
        return null
      case 25:
        return from.half()
      case 26:
        return from.float(4)
      case 27:
        return from.float(8)
    }
    throw new Malformed("a value that JSON does not have")
  }
  if (info > 27) throw new Malformed("something of indefinite length")
  const count = info < 24 ? info : from.uint(sizes[info as keyof typeof sizes])
  switch (major) {
    case 0:
      return count
    case 1:
      return -1 - count
    case 3:
      return from.text(count)
    case 4:
      return from.array(count, next)
    case 5:
      return from.map(count, next)
  }
  throw new Malformed("a value that JSON does not have")
}

export const decode = (bytes: Uint8Array, start: number): unknown => {
  const from = new Reader(bytes, start)
  const value = read(from)
  from.end()
  return value
}

const head = (to: Writer, major: number, count: number): void => {
  const first = major << 5
  if (count < 24) to.uint(1, first | count)
  else if (count <= 0xff) to.sized(first | 24, 1, count)
  else if (count <= 0xffff) to.sized(first | 25, 2, count)
  else if (count <= 0xffff_ffff) to.sized(first | 26, 4, count)
  else to.sized(first | 27, 8, count)
}

const write = (to: Writer, value: unknown): void => {
  if (value === null) return to.uint(1, 0xf6)
  switch (typeof value) {
    case "boolean":
      return to.uint(1, value ? 0xf5 : 0xf4)
    case "number":
      if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
        return head(to, value < 0 ? 1 : 0, value < 0 ? -1 - value : value)
      }
      to.uint(1, 0xfb)
      return to.float(value)
    case "string": {
      const bytes = Buffer.from(value, "utf8")
      head(to, 3, bytes.length)
      return to.raw(bytes)
    }
    case "object":
      if (Array.isArray(value)) {
        head(to, 4, value.length)
        for (const item of value) write(to, item)
      } else {
        const members = Object.entries(value)
        head(to, 5, members.length)
        for (const [key, item] of members) {
          write(to, key)
          write(to, item)
        }
      }
  }
}

export const encode = (start: Uint8Array, value: unknown): Uint8Array => {
  const to = new Writer()
  to.raw(start)
  write(to, value)
  return to.done()
}
