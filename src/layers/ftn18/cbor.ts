/**
 * CBOR (RFC 8949), as far as it says what JSON can say: no byte strings, no tags, nothing of indefinite length.
 */
import { coding } from "./binary.js"
import { Malformed, type Reader, type Writer } from "./bytes.js"

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

const head = (to: Writer, major: number, count: number): void => {
  const first = major << 5
  if (count < 24) to.uint(1, first | count)
  else if (count <= 0xff) to.sized(first | 24, 1, count)
  else if (count <= 0xffff) to.sized(first | 25, 2, count)
  else if (count <= 0xffff_ffff) to.sized(first | 26, 4, count)
  else to.sized(first | 27, 8, count)
}

export const { decode, encode } = coding(read, {
  nothing: 0xf6,
  no: 0xf4,
  yes: 0xf5,
  double: 0xfb,
  integer: (to, n) => n < 0 ? head(to, 1, -1 - n) : head(to, 0, n),
  text: (to, bytes) => head(to, 3, bytes),
  list: (to, length) => head(to, 4, length),
  map: (to, length) => head(to, 5, length)
})
