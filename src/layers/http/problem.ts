/**
 * What a failure is over HTTP: a status and a JSON object `{error, message, ...fields}`. What a driver said stays here: it may
 * name hosts, users and statements.
 */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type * as EventStreamError from "../../EventStreamError.js"

const statuses = {
  InvalidEvent: 400,
  InvalidOption: 400,
  InvalidConsumer: 400,
  LiveNotAllowed: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotRegistered: 404,
  ConsumerBusy: 409,
  ConsumerExclusive: 409,
  ConsumerFenced: 409,
  CursorAhead: 409,
  StreamChanged: 409,
  EventsDiscarded: 410,
  LimitExceeded: 429,
  InsideTransaction: 500,
  OutcomeUnknown: 500,
  StoreError: 500
} as const

/** What the routes may answer instead of what was asked for. */
export type Failure = InstanceType<(typeof EventStreamError)[keyof typeof statuses]>

const challenge = `Basic realm="events", charset="UTF-8", Bearer realm="events"`

interface Told {
  readonly error: string
  readonly message: string
  readonly [field: string]: unknown
}

/** Ids as decimal strings, without the cause. */
export const told = (failure: Failure): Told => {
  const { _tag, cause, ...fields } = failure as Failure & { readonly cause?: unknown }
  const known = Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) =>
      name === "name" || name === "message" || name === "stack"
        ? []
        : [[name, typeof value === "bigint" ? value.toString() : value]]
    )
  )
  const own = failure as { readonly message: string }
  const { message } = cause === undefined
    ? own
    : new (failure.constructor as new(fields: object) => Failure)(fields)
  return { error: _tag, message, ...known }
}

const statusOf = (failure: Failure): number =>
  failure._tag === "StoreError" && failure.retryable ? 503 : statuses[failure._tag]

/** An answer of now is of no use later. */
export const headers = { "cache-control": "no-store" }

export const response = (failure: Failure, status = statusOf(failure)): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(told(failure), {
    status,
    headers: {
      ...headers,
      ...(status === 401 ? { "www-authenticate": challenge } : {}),
      ...(status === 429 || status === 503 ? { "retry-after": "1" } : {})
    }
  })
