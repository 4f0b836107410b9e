/**
 * One WebSocket connection: requests and answers in any order, calls of receivers in the other direction.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type { RawData, WebSocket } from "ws"
import { LimitExceeded } from "../../EventStreamError.js"
import type * as EventStream from "../EventStream.js"
import * as Limits from "../network/limits.js"
import { type Coder, coderOf, type Decoded, json, type Message } from "./coder.js"
import { type Dispatch, mostRid, type Peer } from "./dispatch.js"
import { messageOf } from "./envelope.js"
import type { Line } from "./push.js"
import * as Receivers from "./receivers.js"
import type { TakeOvers } from "./takeOvers.js"

export interface Options {
  readonly stream: EventStream.Service
  readonly dispatch: Dispatch
  readonly quota: Limits.Quota
  readonly takeOvers: TakeOvers
  /** Events of a push at most. */
  readonly pushLimit: number
}

/** A receiver answers within 5 seconds; it is waited for a little longer than its own calls wait. */
const answerTimeout = Duration.seconds(35)
/** With more than this on its way to a client its next list of events waits. */
const drainedBytes = 1024 * 1024
/** So many messages in a row that were of no use end a connection. */
const mostUseless = 1000

const policyViolation = 1008
const tryAgainLater = 1013

const bytesOf = (data: RawData): Uint8Array =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data

/** Serves the connection until it ends. */
export const serve = (
  { dispatch, pushLimit, quota, stream, takeOvers }: Options,
  socket: WebSocket,
  from: { readonly address: string; readonly secure: boolean }
): Effect.Effect<void> => {
  const { bufferedBytes, idle, requests } = quota.settings

  const cutOff = (why: string) => Effect.zipRight(Limits.refused("ftn18", why), Effect.sync(() => socket.terminate()))
  const close = (code: number, reason: string) => Effect.sync(() => socket.close(code, reason))

  const send = (bytes: Uint8Array): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (socket.readyState !== socket.OPEN) return Effect.void
      // one message may be as long as it may; what gathers behind it is another thing
      if (socket.bufferedAmount > 0 && socket.bufferedAmount + bytes.length > bufferedBytes) {
        return cutOff("bufferedBytes")
      }
      socket.send(bytes, { binary: true })
      return Effect.void
    })
  const drained: Effect.Effect<void> = Effect.suspend(() =>
    socket.bufferedAmount <= drainedBytes ? Effect.void : Effect.zipRight(Effect.sleep(20), drained)
  )

  let lastCall = 0
  const calls = new Map<string, Deferred.Deferred<Message>>()
  const line: Line = {
    call: (f, p) =>
      Effect.gen(function*() {
        yield* drained
        const rid = `S${++lastCall}`
        const answer = yield* Deferred.make<Message>()
        calls.set(rid, answer)
        return yield* Effect.zipRight(send(json.encode({ f, p, rid })), Deferred.await(answer)).pipe(
          Effect.timeoutTo({ duration: answerTimeout, onSuccess: (answer) => answer, onTimeout: () => undefined }),
          Effect.ensuring(Effect.sync(() => calls.delete(rid)))
        )
      })
  }

  return Effect.scoped(Effect.gen(function*() {
    const connection = yield* quota.connect
    const runFork = yield* FiberSet.makeRuntime<never, void>()
    const lists = yield* Effect.makeSemaphore(1)
    const ready = yield* Receivers.make({ stream, connection, line, limit: pushLimit, takeOvers, close })
    const peer: Peer = { ...from, bidirectional: true, connection, ready }

    let running = 0
    let useless = 0
    let heard = true

    const ignore = (why: string): Effect.Effect<void> =>
      ++useless === mostUseless
        ? Effect.zipRight(Limits.refused("ftn18", why), close(policyViolation, "nothing of use"))
        : Limits.refused("ftn18", why)

    const answer = (decoded: Decoded, coder: Coder): Effect.Effect<void> =>
      Effect.flatMap(dispatch(decoded, coder, peer), (answer) => send(coder.encode(answer)))

    /** Lists of events may be long: one at a time, and only to who takes them. */
    const request = (message: Message, decoded: Decoded, coder: Coder): Effect.Effect<void> => {
      const answered = answer(decoded, coder)
      return String(message.f).endsWith(":pollEvents")
        ? lists.withPermits(1)(Effect.zipRight(drained, answered))
        : answered
    }

    const receive = (bytes: Uint8Array): Effect.Effect<void> => {
      const coder = coderOf(bytes)
      let decoded: Decoded
      try {
        decoded = coder.decode(bytes)
      } catch {
        return ignore("malformed")
      }
      const message = messageOf(decoded)
      // without a request id there is nothing to address an answer to
      if (message === undefined || typeof message.rid !== "string" || message.rid.length > mostRid) {
        return ignore("malformed")
      }
      const { rid } = message
      if (rid.startsWith("S")) {
        const call = calls.get(rid)
        if (call === undefined) return ignore("unknown answer")
        useless = 0
        return Deferred.succeed(call, message)
      }
      if (running >= requests) {
        const { message } = new LimitExceeded({ limit: "requests", most: requests })
        return Effect.zipRight(ignore("requests"), send(coder.encode({ e: "DefenseRejected", edesc: message, rid })))
      }
      useless = 0
      running++
      return Effect.ensuring(request(message, decoded, coder), Effect.sync(() => running--))
    }

    socket.on("message", (data) => {
      heard = true
      if (socket.readyState !== socket.OPEN) return
      runFork(Effect.catchAllDefect(
        Effect.suspend(() => receive(bytesOf(data))),
        (defect) => Effect.logError("A message of FTN18 could not be handled", defect)
      ))
    })
    socket.on("pong", () => {
      heard = true
    })
    socket.on("error", () => runFork(Limits.refused("ftn18", "protocol")))

    // asked while it says nothing, cut off when it does not answer
    while (true) {
      yield* Effect.sleep(idle)
      if (!heard) return yield* cutOff("silent")
      heard = false
      socket.ping()
    }
  })).pipe(
    Effect.catchTag("LimitExceeded", () => close(tryAgainLater, "too many connections")),
    Effect.catchAllCause((cause) => Effect.logError("A connection of FTN18 failed", cause))
  )
}
