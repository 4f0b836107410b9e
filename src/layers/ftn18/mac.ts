/**
 * The message code of FTN8 (`-hmac`, `-smac`): HMAC over a text of the whole message.
 */
import { createHmac, timingSafeEqual } from "node:crypto"
import { type Message, plain } from "./coder.js"

/** By its name in `sec`; those of `-smac` are the same functions. */
const algorithms: ReadonlyMap<string, string> = new Map([
  ["MD5", "md5"],
  ["SHA224", "sha224"],
  ["SHA256", "sha256"],
  ["SHA384", "sha384"],
  ["SHA512", "sha512"],
  ["HMD5", "md5"],
  ["HS256", "sha256"],
  ["HS384", "sha384"],
  ["HS512", "sha512"]
])

/** Members in the order of their names, each `name:value;`, without those that are null. */
const members = (value: object): string =>
  Object.keys(value).sort().map((key) => {
    const item: unknown = (value as Record<string, unknown>)[key]
    if (item === null) return ""
    return `${key}:${
      typeof item === "object" ? members(item) : typeof item === "string" ? item : JSON.stringify(item)
    };`
  }).join("")

/** The text that the code is of: everything but the code itself. */
export const base = (message: Message): string => {
  const { sec: _, ...rest } = plain(message)
  return members(rest)
}

export const sign = (algorithm: string, key: Uint8Array, message: Message): string =>
  createHmac(algorithm, key).update(base(message)).digest("base64")

export interface Mac {
  readonly user: string
  readonly algorithm: string
  readonly code: Buffer
}

/** `-hmac:user:algorithm:code`; undefined if it is not of that form. */
export const parse = (sec: string): Mac | undefined => {
  const [, user, name = "", code = "", ...more] = sec.split(":")
  const algorithm = algorithms.get(name)
  return user === undefined || algorithm === undefined || more.length > 0
    ? undefined
    : { user, algorithm, code: Buffer.from(code, "base64") }
}

export const verifies = ({ algorithm, code }: Mac, key: Uint8Array, message: Message): boolean => {
  const expected = createHmac(algorithm, key).update(base(message)).digest()
  return expected.length === code.length && timingSafeEqual(expected, code)
}
