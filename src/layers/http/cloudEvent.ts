/**
 * Events as CloudEvents 1.0 in JSON, and back. Names of attributes have small letters and digits only; `traceparent` and
 * `tracestate` are those of the extension for distributed tracing.
 */
import { createHash } from "node:crypto"
import type { Meta, StoredEvent } from "../../Event.js"
import { jsonOf } from "../../internal/eventJson.js"

export const contentType = "application/cloudevents+json"
export const batchContentType = "application/cloudevents-batch+json"

/** Our meta and the attributes that they travel as. */
const attributes = [
  ["version", "payloadversion"],
  ["correlationId", "correlationid"],
  ["causationId", "causationid"],
  ["traceparent", "traceparent"],
  ["tracestate", "tracestate"],
  ["redacted", "redacted"]
] as const

/** On one line, its data as it was emitted. */
export const cloudEventJson = (stream: string) => {
  const source = JSON.stringify(`urn:uuid:${stream}`)
  return ({ data, id, key, meta, ts, type, uid }: StoredEvent): string =>
    `{"specversion":"1.0","id":"${id}","source":${source},"type":${JSON.stringify(type)}` +
    (key === null ? "" : `,"subject":${JSON.stringify(key)}`) +
    `,"time":"${new Date(ts).toISOString()}","uid":${JSON.stringify(uid)}` +
    (meta === null ? "" : extensionsOf(meta)) +
    `,"datacontenttype":"application/json","data":${jsonOf(data)}}`
}

const extensionsOf = (text: string): string => {
  let meta: Meta
  try {
    meta = JSON.parse(text) ?? {}
  } catch {
    return ""
  }
  return attributes.map(([name, attribute]) => {
    const value: unknown = meta[name]
    return value === undefined || value === null ? "" : `,"${attribute}":${JSON.stringify(value)}`
  }).join("")
}

/** The attribute that a name of our meta is read from. */
export const attributeOf = Object.fromEntries(attributes) as {
  readonly [K in (typeof attributes)[number] as K[0]]: K[1]
}

/**
 * An event is unique by its source and id. A source has no space in it; what is longer than a dedupe key may be is
 * replaced by a hash.
 */
export const dedupeKeyOf = (source: string, id: string): string => {
  const both = `${source} ${id}`
  return both.length <= 255 ? both : `sha256 ${createHash("sha256").update(both).digest("base64url")}`
}
