/**
 * Events without registration over HTTP: from now on, or after an id that the client has seen (Last-Event-ID), from the log
 * first and then live.
 *
 * The joint: pages of the log are read until one is empty, at a position P. The tail is joined after P. What it does not
 * keep any more at that moment it says as missed, up to M: that is in the log, and read from there. So after P every
 * event comes once, from the log up to M, from the tail after it. A slow client misses events later, and is told.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Consumer from "../../Consumer.js"
import { sharedDecoder } from "../../Event.js"
import * as EventId from "../../EventId.js"
import { EventsDiscarded } from "../../EventStreamError.js"
import type * as EventStream from "../EventStream.js"
import type { Desk } from "../network/desk.js"
import { notAhead, reconnecting, select } from "../reader.js"
import { Gap } from "../../services/Pusher.js"
import type { Failure } from "./problem.js"
import type { Source } from "./sse.js"

export const open = (
  { core: { openLive, reader, store } }: EventStream.Service,
  desk: Desk,
  options: {
    readonly want: ReadonlyArray<string> | undefined
    /** An id, `beginning`: the first event that is in the log, or `end`: from now on. */
    readonly from: string
    /** How many events the client may be behind before the oldest are left out. */
    readonly buffer: number
  }
): Effect.Effect<Source, Failure, Scope.Scope> =>
  Effect.gen(function*() {
    yield* desk.may("push", Consumer.live)
    const scope = yield* Effect.scope
    const selection = yield* select(options.want, undefined, sharedDecoder)
    const after = yield* startOf(store, options.from)
    // a database that is away now is an answer; later it is waited for, by `next`
    const join = (after: bigint | undefined) =>
      Scope.extend(openLive({ selection, buffer: options.buffer, reconnect: Schedule.stop, after }), scope)
    let tail = after === undefined ? yield* join(undefined) : undefined
    let position = after ?? tail!.start
    /** Up to here the log is read, as far as is known. */
    let known = 0n
    let justJoined = true

    const miss = (upTo: bigint) => {
      const missed = Number(upTo - position)
      position = upTo
      return [new Gap({ missed, upTo: upTo as EventId.EventId })]
    }
    /** A page of the log. Nobody waits for who is not registered: the discarder may be faster. */
    const page = Effect.gen(function*() {
      const found = yield* reader.look(undefined, position, selection)
      const { look, rows, upTo } = yield* reader.read(undefined, found, position, selection, reader.mostRows)
      known = look.head
      const { discardedTo } = yield* store.retention
      if (discardedTo > position) return miss(discardedTo)
      if (upTo > position) position = upTo
      // there is nothing up to the end: ids may have been left out
      else if (known > position) position = known
      return rows.map(selection.decode)
    })
    const next = Effect.gen(function*() {
      if (tail === undefined || position < known) {
        const events = yield* page
        if (events.length > 0 || position < known) return events
      }
      tail ??= yield* join(position)
      const { missed, rows, upTo } = yield* tail.next
      const joining = justJoined && after !== undefined
      justJoined = false
      // the log was ahead
      if (upTo <= position) return []
      if (missed > 0 && joining) {
        known = upTo
        return []
      }
      if (missed > 0) return miss(upTo)
      const fresh = rows.filter(({ id }) => id > position)
      position = upTo
      return fresh.map(selection.decode)
    })
    return { next: Effect.mapError(reconnecting(undefined)(next), Option.some), position: () => position }
  })

const startOf = (store: EventStream.Core["store"], from: string): Effect.Effect<bigint | undefined, Failure> =>
  Effect.gen(function*() {
    if (from === "end") return undefined
    const { discardedTo } = yield* store.retention
    if (from === "beginning") return discardedTo
    const after = from === "0" ? 0n : yield* EventId.parse("from", from)
    yield* notAhead(Consumer.live, after, yield* store.look({ ident: undefined, after: 0n, window: 0 }))
    if (after < discardedTo) return yield* new EventsDiscarded({ consumer: Consumer.live, after, discardedTo })
    return after
  })
