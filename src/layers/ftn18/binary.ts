/**
 * What the two binary coders have in common: values of JSON, each behind a head that says what it is.
 */
import { Reader, Writer } from "./bytes.js"

/** The heads of a format. */
export interface Heads {
  readonly nothing: number
  readonly no: number
  readonly yes: number
  /** Before a number of 64 bits, IEEE 754. */
  readonly double: number
  readonly integer: (to: Writer, n: number) => void
  /** Before so many bytes, elements, or pairs. */
  readonly text: (to: Writer, bytes: number) => void
  readonly list: (to: Writer, length: number) => void
  readonly map: (to: Writer, length: number) => void
}

export interface Coding {
  /** Reads one value from `start` to the end. Throws `Malformed`. */
  readonly decode: (bytes: Uint8Array, start: number) => unknown
  /** `start`, then the value. */
  readonly encode: (start: Uint8Array, value: unknown) => Uint8Array
}

export const coding = (read: (from: Reader) => unknown, heads: Heads): Coding => {
  const text = (to: Writer, value: string): void => {
    const bytes = Buffer.from(value, "utf8")
    heads.text(to, bytes.length)
    to.raw(bytes)
  }
  const write = (to: Writer, value: unknown): void => {
    if (value === null) return to.uint(1, heads.nothing)
    switch (typeof value) {
      case "boolean":
        return to.uint(1, value ? heads.yes : heads.no)
      case "number":
        if (Number.isSafeInteger(value) && !Object.is(value, -0)) return heads.integer(to, value)
        to.uint(1, heads.double)
        return to.float(value)
      case "string":
        return text(to, value)
      case "object":
        if (Array.isArray(value)) {
          heads.list(to, value.length)
          for (const item of value) write(to, item)
        } else {
          const members = Object.entries(value)
          heads.map(to, members.length)
          for (const [key, item] of members) {
            text(to, key)
            write(to, item)
          }
        }
    }
  }
  return {
    decode: (bytes, start) => {
      const from = new Reader(bytes, start)
      const value = read(from)
      from.end()
      return value
    },
    encode: (start, value) => {
      const to = new Writer()
      to.raw(start)
      write(to, value)
      return to.done()
    }
  }
}
