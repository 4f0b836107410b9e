/**
 * One request to one answer, in the order of FutoIn's executor: who asks, which function, is the channel good enough, do
 * the parameters fit, run.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Event from "../../Event.js"
import type { Service as Access } from "../../services/Access.js"
import type * as EventStream from "../EventStream.js"
import * as Desk from "../network/desk.js"
import type * as Limits from "../network/limits.js"
import { type Failure, invalid, refusal, toRefusal } from "./answer.js"
import * as Callers from "./caller.js"
import type { Coder, Decoded, Message } from "./coder.js"
import { type Call, callOf, type Channel, channelIssue, messageOf, parametersOf } from "./envelope.js"
import { poll } from "./poll.js"

/** Where a request came from. */
export interface Peer extends Channel {
  readonly address: string
  readonly connection: Limits.Connection
  /** Makes the peer a receiver, on a channel where that can be. */
  readonly ready: ((call: Ready) => Effect.Effect<void, Failure>) | undefined
}

export interface Ready {
  readonly desk: Desk.Desk
  readonly component: string
  readonly want: ReadonlyArray<string> | undefined
  /** Minor version of the receiver. */
  readonly minor: number
}

export interface Options {
  readonly stream: EventStream.Service
  readonly access: Access
  /** Events of a poll at most. */
  readonly pollLimit: number
  /** How long the answer to a receiver is held back that cannot be served. */
  readonly refusalDelay: Duration.Duration
}

export type Dispatch = (decoded: Decoded, coder: Coder, peer: Peer) => Effect.Effect<Message>

/** A client waits for 30 seconds. */
const timeLimit = Duration.seconds(25)

/** A longer one is not sent back. */
export const mostRid = 128

const ridOf = ({ rid }: Message): { readonly rid?: string } =>
  typeof rid === "string" && rid.length <= mostRid ? { rid } : {}

/** Receivers try again at once, in a hot loop, when one of these fails. */
const eager = /:(?:readyToReceive|registerConsumer)$/

export const make = ({ access, pollLimit, refusalDelay, stream }: Options): Dispatch => {
  const callers = Callers.make(access)
  const { maxDataBytes } = stream.core

  const run = (
    { func, minor }: Call,
    p: Readonly<Record<string, any>>,
    desk: Desk.Desk,
    peer: Peer,
    data: Decoded["data"],
    list: { readonly room: number; readonly sizeOf: Coder["sizeOf"] }
  ): Effect.Effect<unknown, Failure> => {
    switch (func.name) {
      case "ping":
        return Effect.succeed({ echo: p.echo })
      case "addEvent":
        return Effect.flatMap(
          Event.fromJson(p.type, data() ?? "null", { maxDataBytes }),
          (event) => Effect.map(desk.append([event]), ([id]) => id!.toString())
        )
      case "registerConsumer":
        return Effect.as(desk.register(p.component), true)
      case "pollEvents":
        return poll(desk, { component: p.component, lastId: p.last_id, want: p.want, limit: pollLimit, ...list })
      case "readyToReceive":
        return peer.ready === undefined
          ? Effect.fail(invalid("Bi-Direct Channel is required"))
          : Effect.as(peer.ready({ desk, component: p.component, want: p.want, minor }), true)
    }
  }

  return (decoded, coder, peer) => {
    const message = messageOf(decoded)
    if (message === undefined) return Effect.succeed({ e: "InvalidRequest", edesc: "Missing req.f" })
    const rid = ridOf(message)
    let sign: Callers.Caller["sign"]
    const signed = (answer: Message): Message => sign === undefined ? answer : { ...answer, sec: sign(answer) }

    const result = Effect.gen(function*(): Generator<any, unknown, any> {
      const caller: Callers.Caller | undefined = yield* callers.of(message, peer.address)
      sign = caller?.sign
      const call: Call = yield* callOf(message, caller !== undefined)
      const issue = channelIssue(call, peer, caller !== undefined)
      if (issue !== undefined) return yield* issue
      const parameters = yield* parametersOf(call, message)
      const { identity } = caller!
      const around = coder.encode(signed({ r: [], ...rid })).length
      return yield* peer.connection.request(
        identity.user,
        run(call, parameters, Desk.make(stream, identity), peer, decoded.data, {
          room: call.func.answerBytes - around,
          sizeOf: coder.sizeOf
        })
      )
    }) as Effect.Effect<unknown, Failure>

    return result.pipe(
      Effect.timeoutFail({ duration: timeLimit, onTimeout: () => refusal("InternalError", "It takes too long") }),
      Effect.exit,
      Effect.flatMap((exit): Effect.Effect<Message> => {
        if (Exit.isSuccess(exit)) return Effect.succeed({ r: exit.value, ...rid })
        if (Cause.isInterruptedOnly(exit.cause)) return Effect.interrupt
        const failure = Cause.failureOption(exit.cause)
        const { error, text } = failure._tag === "Some"
          ? toRefusal(failure.value)
          : refusal("InternalError", "Not expected error")
        const answer = Effect.as(
          failure._tag === "Some" && error !== "InternalError"
            ? Effect.void
            : Effect.logError("A request of FTN18 failed", exit.cause),
          { ...rid, e: error, edesc: text }
        )
        return eager.test(String(message.f)) ? Effect.delay(answer, refusalDelay) : answer
      }),
      Effect.map(signed)
    )
  }
}
