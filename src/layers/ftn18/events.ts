/**
 * Events as FTN18 has them, and lists of them that fit into a message.
 */
import type { Unknown } from "../../Event.js"
import { jsonOf } from "../../internal/eventJson.js"

export const typePattern = /^[A-Z_]{1,16}$/
const tsPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/

/** FTN18 1.1: events of a list. */
export const mostEvents = 1000

export interface WireEvent {
  readonly id: string
  readonly type: string
  /** Data as JSON text, as it was emitted; null for what was erased. */
  readonly data: string
  /** UTC, whole seconds. */
  readonly ts: string
  /** The event as JSON text, and its length in UTF-8. */
  readonly json: string
  readonly bytes: number
}

const secondsOf = (ts: number): string | undefined => {
  const date = new Date(ts)
  const text = Number.isNaN(date.getTime()) ? "" : date.toISOString().replace(/\.\d+Z$/, "Z")
  return tsPattern.test(text) ? text : undefined
}

/** Consumers of one process share what is read, and what was made of it. */
const made = new WeakMap<object, WireEvent>()

/** The event for FTN18; left out what it has no form for: the part that does not fit. */
export const wireEvent = (event: Unknown): WireEvent | "type" | "ts" => {
  const known = made.get(event.row)
  if (known !== undefined) return known
  if (!typePattern.test(event.type)) return "type"
  const ts = secondsOf(event.ts)
  if (ts === undefined) return "ts"
  const id = event.id.toString()
  const data = jsonOf(event.json)
  const json = `{"id":"${id}","type":"${event.type}","data":${data},"ts":"${ts}"}`
  const wire: WireEvent = { id, type: event.type, data, ts, json, bytes: Buffer.byteLength(json) }
  made.set(event.row, wire)
  return wire
}

/** A list as part of a message: each coder writes it in its own way. */
export class EventList {
  constructor(readonly events: ReadonlyArray<WireEvent>) {}
  get json(): string {
    return `[${this.events.map(({ json }) => json).join(",")}]`
  }
  get value(): ReadonlyArray<unknown> {
    return this.events.map(({ data, id, ts, type }) => ({ id, type, data: JSON.parse(data), ts }))
  }
}

/** An event that alone is longer than a message of the asked version may be. */
export interface TooLong {
  readonly event: WireEvent
  readonly bytes: number
}

/**
 * As many of the events, from the first on, as fit: `room` is what the message has left for the list. None only if the
 * first one alone is too long.
 */
export const cut = (
  events: ReadonlyArray<WireEvent>,
  room: number,
  sizeOf: (event: WireEvent) => number
): ReadonlyArray<WireEvent> => {
  let size = 0
  for (let n = 0; n < events.length; n++) {
    // a comma each, or what a longer list needs to say how long it is
    size += sizeOf(events[n]!) + 1
    if (size + listBytes > room || n === mostEvents) return events.slice(0, n)
  }
  return events
}

/** What a list has around its events at most, in any coder. */
const listBytes = 5
