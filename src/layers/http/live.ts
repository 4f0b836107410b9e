/**
 * Events without registration over HTTP: from now on, or after an id that the client has seen (Last-Event-ID), from the log
 * first and then live.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Consumer from "../../Consumer.js"
import * as EventId from "../../EventId.js"
import { EventsDiscarded } from "../../EventStreamError.js"
import type * as EventStream from "../EventStream.js"
import type { Desk } from "../network/desk.js"
import { notAhead } from "../reader.js"
import type { Failure } from "./problem.js"
import type { Source } from "./sse.js"

export const open = (
  { core: { follow, store } }: EventStream.Service,
  desk: Desk,
  options: {
    readonly want: ReadonlyArray<string> | undefined
    /** An id, the first event that is in the log, or from now on. */
    readonly from: string
  }
): Effect.Effect<Source, Failure, Scope.Scope> =>
  Effect.gen(function*() {
    yield* desk.may("push", Consumer.live)
    const after = yield* startOf(store, options.from)
    const { next, position } = yield* follow(options.want, after === undefined ? {} : { after })
    return { next: Effect.mapError(next, Option.some), position }
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
