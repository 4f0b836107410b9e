/**
 * Events without registration: what the tail has from now on. Who is too slow for it loses the oldest, and is told how many.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { sharedDecoder, type StoredEvent } from "../Event.js"
import type { StoreError } from "../EventStreamError.js"
import type { Service as EventStore } from "../services/EventStore.js"
import { Gap, type Service, type SubscribeOptions } from "../services/Pusher.js"
import type { Tail } from "../streams/Tail.js"
import { filterOf, fromOne, type Reader, reconnecting, select, type Selection, toId } from "./reader.js"

/** Rows that are taken from the tail at once. */
export const tailPage = 1000

/** Events from now on, or from an id on as far as they are in memory, for as long as the scope. */
export type OpenLive = (options: {
  readonly selection: Selection
  readonly buffer: number
  readonly reconnect: SubscribeOptions<any, any>["reconnect"]
  readonly after: bigint | undefined
}) => Effect.Effect<
  {
    /** The end of the log now. */
    readonly start: bigint
    /** What comes next; `missed` events up to `upTo` are left out. */
    readonly next: Effect.Effect<
      { readonly missed: number; readonly rows: ReadonlyArray<StoredEvent>; readonly upTo: bigint },
      StoreError
    >
  },
  StoreError,
  Scope.Scope
>

export const opening =
  (store: EventStore, reader: Reader, tail: Tail<StoredEvent, StoreError>): OpenLive =>
  ({ after, buffer, reconnect, selection }) =>
    Effect.gen(function*() {
      const filter = filterOf(selection)
      const retry = reconnecting(reconnect)
      const end = retry(
        store.sequenced
          ? reader.sequence()
          : Effect.map(store.look({ ident: undefined, after: 0n, window: 0 }), ({ head }) => head)
      )
      let position = yield* end
      const start = position
      if (after !== undefined && after < position) position = after
      const member = yield* tail.join
      const next = Effect.gen(function*() {
        const { from, to } = tail.kept()
        const oldest = position < from ? from : position
        const start = to - oldest > BigInt(buffer) ? to - BigInt(buffer) : oldest
        if (start > position) {
          const missed = Number(start - position)
          position = start
          return { missed, rows: [], upTo: position }
        }
        const rows = yield* member.next(position, tailPage)
        if (rows === undefined) return { missed: 0, rows: [], upTo: position }
        position = rows[rows.length - 1]!.id
        return { missed: 0, rows: filter(rows), upTo: position }
      })
      return { start, next: retry(next) }
    })

export const live = (store: EventStore, openLive: OpenLive): Service["live"] => (want, options) =>
  Stream.unwrapScoped(store.outside(
    "live",
    Effect.gen(function*() {
      const selection = yield* select(want, options?.catalog, sharedDecoder)
      const buffer = yield* fromOne("buffer", options?.buffer ?? 10_000)
      const { next } = yield* openLive({ selection, buffer, reconnect: options?.reconnect, after: undefined })
      return Stream.repeatEffectChunk(Effect.map(next, ({ missed, rows, upTo }) =>
        missed > 0
          ? Chunk.of(new Gap({ missed, upTo: toId(upTo)! }))
          : Chunk.unsafeFromArray(rows.map(selection.decode))))
    })
  ))
