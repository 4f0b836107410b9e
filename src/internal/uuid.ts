/**
 * UUID version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random bits. Within one process and millisecond a
 * 12-bit counter keeps them growing (RFC 9562, 6.2, method 1), so that uids sort as they were made.
 */
import { randomFillSync } from "node:crypto"

const pool = new Uint8Array(8 * 256)
let used = pool.length
let lastMillis = 0
let counter = 0

const hex: ReadonlyArray<string> = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"))

export const uuidv7 = (): string => {
  const now = Date.now()
  if (now > lastMillis) {
    lastMillis = now
    counter = 0
  } else if (++counter > 0xfff) {
    lastMillis++
    counter = 0
  }
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const b = pool.subarray(used, used += 8)
  const time = lastMillis.toString(16).padStart(12, "0")
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, "0")}-` +
    `${hex[(b[0]! & 0x3f) | 0x80]}${hex[b[1]!]}-${hex[b[2]!]}${hex[b[3]!]}${hex[b[4]!]}${hex[b[5]!]}${hex[b[6]!]}${
      hex[b[7]!]
    }`
}

/** The form of a uid, whoever made it. */
export const isUuid = (text: string): boolean =>
  /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(text)
