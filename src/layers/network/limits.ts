/**
 * What callers over the network may take of a server at a time. Every server counts in one `Quota`; what it refuses is
 * counted in a metric.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import { LimitExceeded } from "../../EventStreamError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Connections of everybody, those that have not said who they are included. Default 10 000. */
  readonly connections?: number | undefined
  /** Connections of one user. Default 1000. */
  readonly userConnections?: number | undefined
  /** Requests of one connection that are not answered yet. Default 32. */
  readonly requests?: number | undefined
  /** Requests of one user that are not answered yet, on all its connections. Default 256. */
  readonly userRequests?: number | undefined
  /** Subscriptions of one connection. Default 32. */
  readonly subscriptions?: number | undefined
  /** Subscriptions of one user, on all its connections. Default 1000. */
  readonly userSubscriptions?: number | undefined
  /** Bytes of one message of a caller. Default 8 MiB; FTN18 has limits of its own. */
  readonly messageBytes?: number | undefined
  /** Bytes that may wait to be sent to one caller before it is cut off, as too slow. Default 16 MiB. */
  readonly bufferedBytes?: number | undefined
  /** A connection that says nothing for so long is asked (WebSocket ping), and cut off when it does not answer. Default 30 s. */
  readonly idle?: Duration.DurationInput | undefined
}

export const defaults = {
  connections: 10_000,
  userConnections: 1000,
  requests: 32,
  userRequests: 256,
  subscriptions: 32,
  userSubscriptions: 1000,
  messageBytes: 8 * 1024 * 1024,
  bufferedBytes: 16 * 1024 * 1024,
  idle: "30 seconds" as Duration.DurationInput
}

export type Settings = { readonly [K in keyof typeof defaults]: (typeof defaults)[K] }

type Kind = "connections" | "userConnections" | "requests" | "userRequests" | "subscriptions" | "userSubscriptions"

const refusals = Metric.counter("evt.server.refused", {
  description: "What a server did not do because a limit was reached, or the caller broke the protocol",
  incremental: true
})
const open = Metric.gauge("evt.server.connections", { description: "Connections that are open" })

/** Counts something that was refused; `why` is one of a few words. */
export const refused = (transport: string, why: string): Effect.Effect<void> =>
  Metric.incrementBy(Metric.tagged(Metric.tagged(refusals, "transport", transport), "why", why), 1)
    }
  })
  return { settings, connect }
}
