/**
 * An event as JSON text on one line, members as in `toJSON`, with its data as it was emitted: parsed and printed again,
 * numbers above 2^53 would lose digits.
 */
import type { StoredEvent } from "../Event.js"

export const eventJson = ({ data, id, key, meta, ts, type, uid }: StoredEvent): string =>
  `{"id":"${id}","uid":${JSON.stringify(uid)},"type":${JSON.stringify(type)}` +
  (key === null ? "" : `,"key":${JSON.stringify(key)}`) +
  (meta === null ? "" : `,"meta":${jsonOf(meta)}`) +
  `,"ts":"${new Date(ts).toISOString()}","data":${jsonOf(data)}}`

/** A batch, as its `toJSON` has it. */
export const batchJson = (
  { events, generation, upTo }: {
    readonly events: ReadonlyArray<{ readonly row: StoredEvent }>
    readonly generation: number
    readonly upTo: bigint | undefined
  }
): string =>
  `{"events":[${events.map(({ row }) => eventJson(row)).join(",")}],` +
  `"upTo":${upTo === undefined ? "null" : `"${upTo}"`},"generation":${generation}}`

/**
 * The text as it is. Writers in other languages may have put line breaks between its tokens, which become spaces; what is
 * no JSON at all becomes a string of it.
 */
export const jsonOf = (text: string): string => {
  try {
    JSON.parse(text)
  } catch {
    return JSON.stringify(text)
  }
  return /[\r\n]/.test(text) ? text.replaceAll(/[\r\n]+/g, " ") : text
}
