/**
 * The endpoint as a whole: one path of a server of Node, for HTTP and WebSocket alike.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { IncomingMessage } from "node:http"
import type { InvalidOption } from "../../EventStreamError.js"
import { Access } from "../../services/Access.js"
import * as EventStream from "../EventStream.js"
import * as Network from "../network/limits.js"
import type { Connection, Service as NodeServer } from "../network/nodeServer.js"
import { fromOne, within } from "../reader.js"
import * as Addresses from "./addresses.js"
import * as Dispatch from "./dispatch.js"
import * as Http from "./http.js"
import { kib64 } from "./interfaces.js"
import * as Session from "./session.js"
import * as TakeOvers from "./takeOvers.js"

/**
 * What callers may take at a time. Whoever wants more is answered `DefenseRejected`, or its connection is closed; the metric
 * `evt.server.refused` counts it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits extends Omit<Network.Limits, "messageBytes"> {
  /** Requests of one connection that are not answered yet. Default 256. */
  readonly requests?: number | undefined
  /** Requests of one user that are not answered yet, on all its connections. Default 2048. */
  readonly userRequests?: number | undefined
  /** WebSockets of one address, and as many HTTP requests. Default 1000. */
  readonly addressConnections?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface GatewayOptions {
  /** Path of the endpoint, with or without `/` at its end. Default `/ftn18`. */
  readonly path?: string | undefined
  /**
   * When a channel counts as one that nobody can listen to, which adding events needs (FTN18): `tls` (default), where this
   * server speaks TLS; `proxy`, always: TLS ends before it, and no other way leads here. The proxy then says in
   * `X-Forwarded-For` whose request it is.
   */
  readonly secureChannel?: "tls" | "proxy" | undefined
  /** Events of a poll at most, 1 to 1000. Default 100 (in the original `max_chunk_events`). */
  readonly pollLimit?: number | undefined
  /** Events of a push at most, 1 to 1000. Default 100. */
  readonly pushLimit?: number | undefined
  /**
   * How long the answer to `readyToReceive` and `registerConsumer` is held back when it is an error: receivers of FutoIn try
   * again at once. Default 1 second.
   */
  readonly refusalDelay?: Duration.DurationInput | undefined
  readonly limits?: Limits | undefined
}

/** A client of FutoIn sends what its application calls, all at once; so the limits on requests are wider here. */
const defaults = {
  path: "/ftn18",
  pollLimit: 100,
  pushLimit: 100,
  refusalDelay: Duration.seconds(1),
  limits: { requests: 256, userRequests: 2048 },
  addressConnections: 1000
}

/** Long answers on their way to one address, in messages of the longest kind. */
const longAnswers = 8

export const serve = (
  server: NodeServer,
  options: GatewayOptions = {}
): Effect.Effect<void, InvalidOption, Access | EventStream.EventStream | Scope.Scope> =>
  Effect.gen(function*() {
    const stream = yield* EventStream.EventStream
    const access = yield* Access
    const pollLimit = yield* within("pollLimit", options.pollLimit ?? defaults.pollLimit, 1, 1000)
    const pushLimit = yield* within("pushLimit", options.pushLimit ?? defaults.pushLimit, 1, 1000)
    const { addressConnections = defaults.addressConnections, ...limits } = options.limits ?? {}
    const most = yield* fromOne("limits.addressConnections", addressConnections)
    const quota = Network.make("ftn18", limits, defaults.limits)
    const connections = Addresses.make("addressConnections", most)
    const path = (options.path ?? defaults.path).replace(/\/+$/, "")
    const secureChannel = options.secureChannel ?? "tls"

    /** Behind a proxy everybody has its address: it says whose request it is, in the last place. */
    const addressOf = (request: IncomingMessage): string => {
      const { socket } = request
      const forwarded = secureChannel === "proxy" ? request.headers["x-forwarded-for"] : undefined
      const last = forwarded === undefined ? "" : String(forwarded).split(",").pop()!.trim().slice(0, 64)
      return last === "" ? socket.remoteAddress ?? "" : last
    }
    const from = (request: IncomingMessage) => ({
      address: addressOf(request),
      secure: secureChannel === "proxy" || server.secure
    })

    const dispatch = Dispatch.make({
      stream,
      access,
      pollLimit,
      refusalDelay: Duration.decode(options.refusalDelay ?? defaults.refusalDelay)
    })
    const session = { stream, dispatch, quota, takeOvers: TakeOvers.make(), pushLimit }
    const handler = ({ request, socket }: Connection) => {
      const peer = from(request)
      return Effect.scoped(Effect.zipRight(connections.take(peer.address), Session.serve(session, socket, peer))).pipe(
        Effect.catchTag("LimitExceeded", () => Effect.sync(() => socket.close(1013, "too many connections")))
      )
    }
    // with and without the slash at its end
    const paths = path === "" ? ["/"] : [path, `${path}/`]
    for (const one of paths) yield* server.webSocket({ path: one, maxPayload: kib64 }, handler)
    yield* server.http(
      path === "" ? "/" : path,
      Http.app({
        path,
        dispatch,
        quota,
        requests: connections,
        answers: Addresses.make("answers", longAnswers * 8 * 1024 * 1024),
        from
      })
    )
  })
