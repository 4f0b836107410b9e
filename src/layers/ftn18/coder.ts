/**
 * JSON, MessagePack and CBOR: chosen by the first bytes of each message, and the answer is in the same (FTN5).
 */
import type { Coding } from "./binary.js"
import { Malformed, maxDepth, textOf } from "./bytes.js"
import * as Cbor from "./cbor.js"
import { dataText } from "./dataText.js"
import { EventList, type WireEvent } from "./events.js"
import * as Msgpack from "./msgpack.js"

export interface Decoded {
  /** At most what JSON has. */
  readonly value: unknown
  /** The data of an event as JSON text, if the request has one. */
  readonly data: () => string | undefined
}

/** A message: values of JSON, and maybe lists of events among its members. */
export type Message = Readonly<Record<string, unknown>>

export interface Coder {
  /** As in the content type `application/futoin+…`. */
  readonly name: "json" | "msgpack" | "cbor"
  /** Throws `Malformed`. */
  readonly decode: (bytes: Uint8Array) => Decoded
  readonly encode: (message: Message) => Uint8Array
  /** Bytes of an event in a list. */
  readonly sizeOf: (event: WireEvent) => number
}

/** Goes as deep as it may, not deeper: what comes from anybody must not overflow a stack. */
const checkDepth = (value: unknown, left = maxDepth): void => {
  if (typeof value !== "object" || value === null) return
  if (left === 0) throw new Malformed(`nested deeper than ${maxDepth} levels`)
  for (const item of Array.isArray(value) ? value : Object.values(value)) checkDepth(item, left - 1)
}

const isList = (value: unknown): value is EventList => value instanceof EventList

/** Lists of events are among its members, or among theirs. */
const jsonText = (message: Message): string =>
  `{${
    Object.entries(message).map(([key, value]) => {
      const text = isList(value)
        ? value.json
        : typeof value === "object" && value !== null && Object.values(value).some(isList)
        ? jsonText(value as Message)
        : JSON.stringify(value)
      return `${JSON.stringify(key)}:${text}`
    }).join(",")
  }}`

export const json: Coder = {
  name: "json",
  decode: (bytes) => {
    const text = textOf(bytes)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw new Malformed("no JSON")
    }
    checkDepth(value)
    return { value, data: () => dataText(text) }
  },
  encode: (message) => Buffer.from(jsonText(message)),
  sizeOf: ({ bytes }) => bytes
}

const binary = (
  name: "msgpack" | "cbor",
  mark: string,
  { decode, encode }: Coding
): Coder => {
  const start = Buffer.from(mark)
  const nothing = new Uint8Array()
  return {
    name,
    decode: (bytes) => {
      const value = decode(bytes, start.length)
      return { value, data: () => JSON.stringify((value as any).p.data) }
    },
    encode: (message) => encode(start, plain(message)),
    sizeOf: (event) => encode(nothing, new EventList([event]).value[0]).length
  }
}

/** The same message without lists of events of our own kind. */
export const plain = (message: Message): Record<string, unknown> =>
  Object.fromEntries(Object.entries(message).map(([key, value]) => [key, isList(value) ? value.value : value]))

export const msgpack = binary("msgpack", "MPCK", Msgpack)
export const cbor = binary("cbor", "CBOR", Cbor)

const begins = (bytes: Uint8Array, mark: string): boolean =>
  bytes.length >= mark.length && Buffer.from(bytes.buffer, bytes.byteOffset, mark.length).toString("latin1") === mark

export const coderOf = (bytes: Uint8Array): Coder =>
  begins(bytes, "MPCK") ? msgpack : begins(bytes, "CBOR") ? cbor : json
