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
import * as Limits from "../network/limits.js"
import type { Connection, Service as NodeServer } from "../network/nodeServer.js"
import { fromOne, within } from "../reader.js"
import * as Addresses from "./addresses.js"
import * as Dispatch from "./dispatch.js"
import * as Http from "./http.js"
import { kib64 } from "./interfaces.js"
import * as Session from "./session.js"
import * as TakeOvers from "./takeOvers.js"

export interface Options {
  readonly path?: string | undefined
  readonly secureChannel?: "tls" | "proxy" | undefined
  readonly pollLimit?: number | undefined
  readonly pushLimit?: number | undefined
  readonly refusalDelay?: Duration.DurationInput | undefined
  readonly limits?:
    | (Omit<Limits.Limits, "messageBytes"> & {
      readonly addressConnections?: number | undefined
    })
    | undefined
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
  options: Options = {}
): Effect.Effect<void, InvalidOption, Access | EventStream.EventStream | Scope.Scope> =>
  Effect.gen(function*() {
    const stream = yield* EventStream.EventStream
    const access = yield* Access
    const pollLimit = yield* within("pollLimit", options.pollLimit ?? defaults.pollLimit, 1, 1000)
    const pushLimit = yield* within("pushLimit", options.pushLimit ?? defaults.pushLimit, 1, 1000)
    const { addressConnections = defaults.addressConnections, ...limits } = options.limits ?? {}
    const most = yield* fromOne("limits.addressConnections", addressConnections)
    const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined))
    const quota = Limits.make("ftn18", { ...defaults.limits, ...given })
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
