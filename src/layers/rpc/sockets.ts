/**
 * The protocol of the server over sockets. Every caller is bounded: by the messages that it sends, the calls that are not
 * answered, and the bytes that wait for it; and is cut off when it says nothing and does not answer a ping either, or does
 * not show who it is. A counter tells why.
 */
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { LimitExceeded } from "../../EventStreamError.js"
import * as Limits from "../network/limits.js"
import * as Messages from "./messages.js"

/** A caller's socket. */
export interface Peer {
  readonly send: (data: Uint8Array | string) => void
  /** Bytes that were given to it and have not left. */
  readonly buffered: () => number
  readonly ping: () => void
  /** Ends it at once. */
  readonly cutOff: (code: number, reason: string) => void
}

/** What the socket has to say. */
export interface Caller {
  readonly received: (data: Uint8Array | string) => void
  /** A sign of life. */
  readonly heard: () => void
}

interface Entry {
  readonly id: number
  readonly peer: Peer
  readonly connection: Limits.Connection
  readonly encode: (response: unknown) => Uint8Array | string | undefined
  readonly open: Set<string>
  readonly since: number
  heardAt: number
  pingedAt: number | undefined
  known: boolean
}

/** Calls beyond the limits are refused one by one, for who reads the answers; so many more are a flood. */
const flood = 64
/** RFC 6455, 7.4.1. */
const policyViolation = 1008
const invalidData = 1007

export const make = (quota: Limits.Quota) =>
  Effect.gen(function*() {
    const { settings } = quota
    const serialization = Messages.serialization(settings.messageBytes)
    const idle = Duration.toMillis(settings.idle)
    const mostOpen = settings.requests + settings.subscriptions + flood
    const disconnects = yield* Mailbox.make<number>()
    const entries = new Map<number, Entry>()
    const run = yield* FiberSet.makeRuntime<never>()
    let next = 0
    let write: (clientId: number, message: FromClientEncoded) => Effect.Effect<void> = () => Effect.void

    /** From now on it is neither heard nor answered. */
    const cutOff = (entry: Entry, code: number, why: string) =>
      Effect.suspend(() => {
        if (!entries.delete(entry.id)) return Effect.void
        entry.peer.cutOff(code, why)
        return Effect.zipRight(Limits.refused("rpc", why), disconnects.offer(entry.id))
      })

    const send = (clientId: number, response: FromServerEncoded): Effect.Effect<void> =>
      Effect.suspend(() => {
        const entry = entries.get(clientId)
        if (entry === undefined) return Effect.void
        if (response._tag === "Exit") entry.open.delete(response.requestId)
        const data = entry.encode(response)
        if (data === undefined) return Effect.void
        entry.peer.send(data)
        return entry.peer.buffered() > settings.bufferedBytes ? cutOff(entry, policyViolation, "slow") : Effect.void
      })

    const protocol = yield* RpcServer.Protocol.make((writeRequest) => {
      write = writeRequest
      return Effect.succeed({
        disconnects,
        send,
        end: () => Effect.void,
        clientIds: Effect.sync(() => new Set(entries.keys())),
        initialMessage: Effect.succeed(Option.none()),
        supportsAck: true,
        supportsTransferables: false,
        supportsSpanPropagation: false
      })
    })

    const take = (id: number, entry: Entry, message: FromClientEncoded): Effect.Effect<void> => {
      if (message._tag === "Request") {
        if (entry.open.has(message.id)) return cutOff(entry, policyViolation, "protocol")
        if (entry.open.size >= mostOpen) return cutOff(entry, policyViolation, "flood")
        entry.open.add(message.id)
      }
      return write(id, message)
    }

    const accept = (peer: Peer): Effect.Effect<Caller, LimitExceeded, Scope.Scope> =>
      Effect.gen(function*() {
        const connection = yield* quota.connect
        const parser = serialization.unsafeMake()
        const now = yield* Clock.currentTimeMillis
        const id = next++
        const entry: Entry = {
          id,
          peer,
          connection,
          encode: parser.encode,
          open: new Set(),
          since: now,
          heardAt: now,
          pingedAt: undefined,
          known: false
        }
        yield* Effect.acquireRelease(
          Effect.sync(() => entries.set(id, entry)),
          () => Effect.suspend(() => entries.delete(id) ? disconnects.offer(id) : Effect.void)
        )
        const heard = () => {
          entry.heardAt = Date.now()
          entry.pingedAt = undefined
        }
        return {
          heard,
          received: (data) => {
            heard()
            if (!entries.has(id)) return
            const messages = Messages.read(parser, data)
            if (messages === undefined) run(cutOff(entry, invalidData, "protocol"))
            else for (const message of messages) run(take(id, entry, message))
          }
        }
      })

    const look = Effect.suspend(() => {
      const now = Date.now()
      const gone: Array<Effect.Effect<void>> = []
      for (const entry of entries.values()) {
        if (!entry.known && now - entry.since > idle) gone.push(cutOff(entry, policyViolation, "anonymous"))
        else if (entry.pingedAt !== undefined && now - entry.pingedAt > idle / 2) {
          gone.push(cutOff(entry, policyViolation, "silent"))
        } else if (entry.pingedAt === undefined && now - entry.heardAt > idle) {
          entry.pingedAt = now
          entry.peer.ping()
        }
      }
      return Effect.all(gone, { discard: true })
    })
    yield* Effect.forkScoped(Effect.forever(Effect.delay(look, Math.max(20, Math.min(1000, idle / 4)))))

    const connectionOf = (clientId: number): Limits.Connection | undefined => {
      const entry = entries.get(clientId)
      return entry === undefined ? undefined : {
        request: (user, effect) => {
          entry.known = true
          return entry.connection.request(user, effect)
        },
        subscription: (user) => {
          entry.known = true
          return entry.connection.subscription(user)
        }
      }
    }

    return { protocol, accept, connectionOf }
  })
