/**
 * MessagePack, as far as it says what JSON can say: no bytes, no extensions.
 * https://github.com/msgpack/msgpack/blob/master/spec.md
 */
import { coding } from "./binary.js"
import { Malformed, type Reader, type Writer } from "./bytes.js"

const read = (from: Reader): unknown => {
  const next = () => read(from)
  const head = from.uint(1)
  if (head <= 0x7f) return head
  if (head <= 0x8f) return from.map(head & 0x0f, next)
  if (head <= 0x9f) return from.array(head & 0x0f, next)
  if (head <= 0xbf) return from.text(head & 0x1f)
  if (head >= 0xe0) return head - 0x100
  switch (head) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xca:
      return from.float(4)
    case 0xcb:
      return from.float(8)
    case 0xcc:
      return from.uint(1)
    case 0xcd:
      return from.uint(2)
    case 0xce:
      return from.uint(4)
    case 0xcf:
      return from.uint(8)
    case 0xd0:
      return from.int(1)
    case 0xd1:
      return from.int(2)
    case 0xd2:
      return from.int(4)
    case 0xd3:
      return from.int(8)
    case 0xd9:
      return from.text(from.uint(1))
    case 0xda:
      return from.text(from.uint(2))
    case 0xdb:
      return from.text(from.uint(4))
    case 0xdc:
      return from.array(from.uint(2), next)
    case 0xdd:
      return from.array(from.uint(4), next)
    case 0xde:
      return from.map(from.uint(2), next)
    case 0xdf:
      return from.map(from.uint(4), next)
  }
  throw new Malformed("a value that JSON does not have")
}

/** What begins with a length: the form for up to `few`, then heads for 8 (0: there is none), 16 and 32 bits. */
const head = (to: Writer, length: number, [fixed, few]: readonly [number, number], heads: readonly number[]): void => {
  if (length <= few) to.uint(1, fixed | length)
  else if (length <= 0xff && heads[0] !== 0) to.sized(heads[0]!, 1, length)
  else if (length <= 0xffff) to.sized(heads[1]!, 2, length)
  else to.sized(heads[2]!, 4, length)
}

const integer = (to: Writer, n: number): void => {
  if (n >= 0) {
    if (n <= 0x7f) to.uint(1, n)
    else if (n <= 0xff) to.sized(0xcc, 1, n)
    else if (n <= 0xffff) to.sized(0xcd, 2, n)
    else if (n <= 0xffff_ffff) to.sized(0xce, 4, n)
    else to.sized(0xcf, 8, n)
  } else if (n >= -32) to.uint(1, n & 0xff)
  else if (n >= -0x8000_0000) to.sized(0xd2, 4, n >>> 0)
  else to.sized(0xd3, 8, n)
}

export const { decode, encode } = coding(read, {
  nothing: 0xc0,
  no: 0xc2,
  yes: 0xc3,
  double: 0xcb,
  integer,
  text: (to, bytes) => head(to, bytes, [0xa0, 31], [0xd9, 0xda, 0xdb]),
  list: (to, length) => head(to, length, [0x90, 15], [0, 0xdc, 0xdd]),
  map: (to, length) => head(to, length, [0x80, 15], [0, 0xde, 0xdf])
})
