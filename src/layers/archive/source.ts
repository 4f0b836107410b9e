/**
 * What the archiver reads: a stream here, or one that is reached over the network.
 */
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { StoredEvent, Unknown } from "../../Event.js"
import type { StoreError } from "../../EventStreamError.js"
import { component } from "../../services/Archiver.js"
import type { Service as EventStore } from "../../services/EventStore.js"
import type { Sums } from "../../services/HistoryStore.js"
import type { Delivery } from "../../services/Poller.js"
import type { AckError, Service as Pusher, SubscribeError } from "../../services/Pusher.js"
import { identOf, type Reader } from "../reader.js"

export interface Source {
  /** UUID of the stream. */
  readonly stream: string
  readonly outside: EventStore["outside"]
  /** The deliveries of the archiver, which is registered if it is not yet; waits while another one is active. */
  readonly subscribe: (options: {
    readonly limit: number
    readonly retry: Schedule.Schedule<unknown, StoreError> | undefined
  }) => Stream.Stream<Delivery<Unknown, AckError>, SubscribeError>
  /** Where the archiver is, undefined if it is not registered, and the end of the log. */
  readonly look: Effect.Effect<{ readonly cursor: bigint | undefined; readonly head: bigint }, StoreError>
  /** The end of the log when everything is in it that is committed now. */
  readonly head: Effect.Effect<bigint, StoreError>
  /** The last event of the log, 0 if it is empty: ids after it may have been left out. */
  readonly last: Effect.Effect<bigint, StoreError>
  readonly generations: EventStore["generations"]
  readonly retention: EventStore["retention"]
  readonly page: (options: {
    readonly after: bigint
    readonly upTo: bigint
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreError>
  /** Undefined where it cannot be asked for: the events themselves are summed then. */
  readonly sums: ((from: bigint, to: bigint) => Effect.Effect<Sums, StoreError>) | undefined
}

/** `Source.subscribe` on a Pusher, whose stream is here or elsewhere. */
export const receiving = (pusher: Pusher): Source["subscribe"] => ({ limit, retry }) =>
  pusher.subscribe(component, {
    limit,
    reconnect: retry,
    register: { from: "beginning" },
    whenBusy: "wait",
    // one is written, the next one is read
    maxInFlight: 2
  })

/** A window that no log fills: its bound is the last event. */
const wholeLog = 2_000_000_000

export const local = (store: EventStore, reader: Reader, pusher: Pusher): Source => {
  const look = Effect.flatMap(
    Effect.orDie(identOf("archive", component)),
    (ident) => store.look({ ident, after: 0n, window: 0 })
  )
  return {
    stream: store.stream,
    outside: store.outside,
    subscribe: receiving(pusher),
    look,
    head: reader.sequenceAll,
    last: Effect.map(store.look({ ident: undefined, after: 0n, window: wholeLog }), ({ bound }) => bound ?? 0n),
    generations: store.generations,
    retention: store.retention,
    page: ({ limit, ...options }) =>
      store.page({ ...options, types: undefined, limit: Math.min(limit, reader.mostRows) }),
    sums: store.sums
  }
}
