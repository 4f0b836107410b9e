/**
 * What callers over the network may take of a server at a time. Every server counts in one `Quota`; what it refuses is
 * counted in a metric.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import { LimitExceeded } from "../../EventStreamError.js"
import { Counts } from "./counts.js"

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
  Metric.increment(Metric.tagged(Metric.tagged(refusals, "transport", transport), "why", why) as typeof refusals)

/** One caller's connection. */
export interface Connection {
  /** Runs a request of a user, if there may be one more. */
  readonly request: <A, E, R>(user: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LimitExceeded, R>
  /** Takes a place for a subscription of a user, for as long as the scope. */
  readonly subscription: (user: string) => Effect.Effect<void, LimitExceeded, Scope.Scope>
}

export interface Quota {
  readonly settings: Settings
  /** Takes a place for a connection, for as long as the scope. */
  readonly connect: Effect.Effect<Connection, LimitExceeded, Scope.Scope>
}

/** `usual`: what a transport has by default instead. */
export const make = (transport: string, limits: Limits = {}, usual: Partial<Settings> = {}): Quota => {
  const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined))
  const settings: Settings = { ...defaults, ...usual, ...given }
  const users = { connections: new Counts(), requests: new Counts(), subscriptions: new Counts() }
  let connections = 0
  const gauge = Metric.tagged(open, "transport", transport)

  const over = (limit: Kind) =>
    Effect.zipRight(refused(transport, limit), Effect.fail(new LimitExceeded({ limit, most: settings[limit] })))

  const connect: Quota["connect"] = Effect.gen(function*() {
    const own = { requests: 0, subscriptions: 0 }
    const known = new Set<string>()
    yield* Effect.acquireRelease(
      Effect.suspend(() =>
        connections >= settings.connections ? over("connections") : Metric.set(gauge, ++connections)
      ),
      () =>
        Effect.suspend(() => {
          for (const user of known) users.connections.add(user, -1)
          known.clear()
          return Metric.set(gauge, --connections)
        })
    )
    /** A connection is a user's from its first request on; one may carry several (FTN18 shows who it is in each). */
    const introduce = (user: string) =>
      Effect.suspend(() => {
        if (known.has(user)) return Effect.void
        if (users.connections.of(user) >= settings.userConnections) return over("userConnections")
        known.add(user)
        users.connections.add(user, 1)
        return Effect.void
      })
    const place = (what: "requests" | "subscriptions", user: string) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          if (own[what] >= settings[what]) return over(what)
          const ofUser = what === "requests" ? "userRequests" : "userSubscriptions"
          if (users[what].of(user) >= settings[ofUser]) return over(ofUser)
          own[what]++
          users[what].add(user, 1)
          return Effect.void
        }),
        () =>
          Effect.sync(() => {
            own[what]--
            users[what].add(user, -1)
          })
      )
    return {
      request: (user, effect) =>
        Effect.zipRight(
          introduce(user),
          Effect.scopedWith((scope) =>
            Effect.zipRight(Effect.provideService(place("requests", user), Scope.Scope, scope), effect)
          )
        ),
      subscription: (user) => Effect.zipRight(introduce(user), place("subscriptions", user))
    }
  })
  return { settings, connect }
}
