/**
 * Delivery to a receiver on its own connection: one call of `onEvents` at a time, each with the next number.
 *
 * A receiver counts what it has done, and parks a call with any other number until it gives up. So a number is never left
 * out; and when no answer comes, or only errors, nobody knows which number it expects: the connection is closed, and it
 * begins with 0 on a new one. What was acknowledged then is not delivered again.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { sharedDecoder } from "../../Event.js"
import type { AckError, SubscribeError } from "../../services/Pusher.js"
import type { StoreError } from "../../EventStreamError.js"
import type * as EventStream from "../EventStream.js"
import type { Subscription } from "../Pusher.js"
import { select } from "../reader.js"
import type { Failure } from "./answer.js"
import { json, type Message } from "./coder.js"
import type { Ready } from "./dispatch.js"
import { cut, EventList, type WireEvent } from "./events.js"
import { pushBytes } from "./interfaces.js"
import type { TakeOvers } from "./takeOvers.js"
import { visible } from "./visible.js"

/** The connection to a receiver. */
export interface Line {
  /** Calls the receiver, when there is room to send: its answer, or nothing if none comes in time. */
  readonly call: (f: string, p: Message) => Effect.Effect<Message | undefined>
}

/** A receiver that cannot be served on this connection any more. */
export class Broken extends Data.TaggedError("Broken")<{
  readonly why: string
  /** It is not the receiver's own doing: the operator should know. */
  readonly level: "info" | "warning" | "error"
}> {}

export type PushError = Broken | SubscribeError | AckError

/** How many times a batch is offered before the connection is given up, and the pauses between, doubling. */
const mostOffers = 10
const firstPause = 100
const longestPause = 5000

/** Largest number that a receiver takes: int32. */
const lastNumber = 2 ** 31 - 1

const eventBytes = ({ bytes }: WireEvent) => bytes

/** Cuts a page into calls and makes them one after the other. `skip` is for what no call can carry. */
const calls = (line: Line, minor: number) => {
  const f = `futoin.evt.receiver:1.${minor}:onEvents`
  const around = json.encode({ f, p: { seq: lastNumber, events: [] }, rid: "S999999999999" }).length
  const room = pushBytes(minor) - around
  let seq = 0
  return {
    room,
    next: () => {
      seq++
    },
    call: (events: ReadonlyArray<WireEvent>) =>
      seq > lastNumber
        ? Effect.fail(new Broken({ why: "its numbers are used up", level: "info" }))
        : line.call(f, { seq, events: new EventList(events) })
  }
}

/** Offers events until they are taken. */
const offer = (
  { call, next }: ReturnType<typeof calls>,
  ident: string,
  events: ReadonlyArray<WireEvent>,
  offers = 1
): Effect.Effect<void, Broken> =>
  Effect.flatMap(call(events), (answer) => {
    if (answer?.r === true) {
      next()
      return Effect.void
    }
    if (answer === undefined) return Effect.fail(new Broken({ why: "it does not answer", level: "warning" }))
    const error = `${String(answer.e).slice(0, 60)} ${String(answer.edesc ?? "").slice(0, 200)}`
    if (offers >= mostOffers) {
      return Effect.fail(
        new Broken({ why: `it has answered ${offers} times with an error: ${error}`, level: "warning" })
      )
    }
    return Effect.logDebug(`${ident} answered to events from ${events[0]!.id} on: ${error}`).pipe(
      Effect.zipRight(Effect.sleep(Math.min(longestPause, firstPause * 2 ** (offers - 1)))),
      Effect.zipRight(offer({ call, next, room: 0 }, ident, events, offers + 1))
    )
  })

/** Delivers to a registered consumer until its place is lost: what is acknowledged moves its cursor. */
export const reliable = (subscription: Subscription, line: Line, minor: number): Effect.Effect<never, PushError> => {
  const { decode, ident, lost, next, step } = subscription
  const to = calls(line, minor)
  const page = Effect.flatMap(
    next,
    (page) =>
      Effect.flatMap(visible(decode(page).events), (events) =>
        Effect.gen(function*() {
          let rest = events
          while (rest.length > 0) {
            const fitting = cut(rest, to.room, eventBytes)
            if (fitting.length === 0) return yield* tooLong(rest[0]!, minor)
            yield* offer(to, ident, fitting)
            rest = rest.slice(fitting.length)
            if (rest.length > 0) yield* step(BigInt(fitting[fitting.length - 1]!.id))
          }
          yield* step(page.upTo)
        }))
  )
  return Effect.raceFirst(Effect.forever(page), lost)
}

/** Leaving it out would lose it: the consumer stands still, and both sides are told. */
const tooLong = (event: WireEvent, minor: number) =>
  Effect.fail(
    new Broken({
      why: `event ${event.id} takes ${event.bytes} bytes, more than futoin.evt.receiver:1.${minor} may carry: ` +
        "nothing after it is delivered before the receiver uses version 1.1, or polls past it",
      level: "error"
    })
  )

/**
 * Becomes the receiver of a consumer. The one before may be the same client's, on a connection that is dead without anybody
 * knowing: so its place is taken; but not again and again at once, where two clients are alive.
 */
export const open = (
  stream: EventStream.Service,
  { component, desk, want }: Ready,
  limit: number,
  takeOvers: TakeOvers
): Effect.Effect<Subscription, Failure, Scope.Scope> => {
  const consumer = desk.consumer(component)
  const opened = (whenBusy: "fail" | "takeOver") => stream.core.open(consumer, { want, limit, whenBusy })
  return Effect.catchTag(
    opened("fail"),
    "ConsumerBusy",
    () => Effect.zipRight(takeOvers.wait(`${consumer.user}:${component}`), opened("takeOver"))
  )
}

/** Delivers what is committed from now on: whatever is answered counts as done, and numbers show what is left out. */
export const openLive = (
  stream: EventStream.Service,
  { minor, want }: Ready,
  line: Line
): Effect.Effect<Effect.Effect<never, StoreError | Broken>, Failure, Scope.Scope> =>
  Effect.gen(function*() {
    const selection = yield* select(want, undefined, sharedDecoder)
    const live = yield* stream.core.openLive({ selection, buffer: liveBuffer, reconnect: undefined, after: undefined })
    const to = calls(line, minor)
    const page = Effect.flatMap(live.next, ({ missed, rows }) =>
      Effect.gen(function*() {
        if (missed > 0) to.next()
        let rest = yield* visible(rows.map(selection.decode))
        while (rest.length > 0) {
          const fitting = cut(rest, to.room, eventBytes)
          if (fitting.length > 0) yield* to.call(fitting)
          else yield* Effect.logWarning(`LIVE leaves out: ${(yield* Effect.flip(tooLong(rest[0]!, minor))).why}`)
          to.next()
          rest = rest.slice(Math.max(1, fitting.length))
        }
      }))
    return Effect.forever(page)
  })

/** Events that a live receiver may be behind. */
const liveBuffer = 10_000
