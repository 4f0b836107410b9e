/**
 * Reading events by asking for them: FTN18 2.2.1. In the original: PollFace.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { Consumer } from "../Consumer.js"
import type { Want, Wanted } from "../Event.js"
import type { EventId, Input } from "../EventId.js"
import type {
  ConsumerExclusive,
  CursorAhead,
  EventsDiscarded,
  InsideTransaction,
  InvalidConsumer,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  StoreError,
  StreamChanged
} from "../EventStreamError.js"
import type { Catalog, EventType } from "../EventType.js"

/**
 * Events in the order of their ids, and the position up to which they are complete for this want.
 *
 * @since 0.1.0
 * @category models
 */
export class Batch<out E> {
  readonly events: ReadonlyArray<E>
  /**
   * Given as the next `lastId` it acknowledges everything up to it, what was not wanted included. Undefined as long as
   * the stream has no event at all.
   */
  readonly upTo: EventId | undefined
  /** The stream's generation: it changes when the database is put back in time. */
  readonly generation: number
  constructor(fields: Pick<Batch<E>, "events" | "upTo" | "generation">) {
    this.events = fields.events
    this.upTo = fields.upTo
    this.generation = fields.generation
  }
  /** Ids as decimal strings. */
  toJSON(): unknown {
    return { events: this.events, upTo: this.upTo?.toString(), generation: this.generation }
  }
}

/**
 * @since 0.1.0
 * @category models
 */
export interface PollOptions<W extends Want | undefined, C extends EventType.Any> {
  /**
   * The last id that the caller has safely taken over: acknowledges everything up to it. Left out: continue at the
   * stored cursor (`LIVE`: with the first retained event). An id before the cursor does not move it back.
   */
  readonly lastId?: Input | undefined
  /** Types to deliver, as declarations or names. Left out: all. `[]`: none. */
  readonly want?: W | undefined
  /** Declarations to decode with where `want` is left out; other types come as `Unknown`. */
  readonly catalog?: Catalog<C> | undefined
  /**
   * How many events at most, 1 to 1000 (FTN18 2.2.1). Default 1000. With a large `maxDataBytes` fewer: a batch has at most
   * 64 MiB of data.
   */
  readonly limit?: number | undefined
  /** The generation that `lastId` belongs to, as an earlier batch said it. Checked if given. */
  readonly generation?: number | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type PollError =
  | InvalidConsumer
  | InvalidOption
  | NotRegistered
  | ConsumerExclusive
  | CursorAhead
  | StreamChanged
  | InsideTransaction
  | StoreError

/**
 * Where a new registration starts: with the first retained event, after the last one, after the event with the given
 * id (as if that had been the last one read), or at the first retained event that is not older than the given time.
 *
 * @since 0.1.0
 * @category models
 */
export type From =
  | "beginning"
  | "end"
  | { readonly after: Input }
  | { readonly time: Date }

/**
 * A batch on its way to a handler.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery<E, X = StoreError> {
  readonly batch: Batch<E>
  /** Acknowledges this batch and all before it. May be called again. */
  readonly ack: Effect.Effect<void, X>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions<W extends Want | undefined, C extends EventType.Any> {
  /** Types to deliver, as declarations or names. Left out: all. */
  readonly want?: W | undefined
  /** Declarations to decode with where `want` is left out. */
  readonly catalog?: Catalog<C> | undefined
  /** How many events a batch has at most, 1 to 1000. Default 1000. */
  readonly limit?: number | undefined
  /** Registers the consumer first, if it is not registered yet. */
  readonly register?: { readonly from?: From | undefined } | undefined
  /**
   * The pauses between polls that found nothing, started again whenever something is found. Default: 2 ms doubling to
   * 1 s.
   */
  readonly idle?: Schedule.Schedule<unknown, unknown> | undefined
  /** The pauses between attempts while the database fails. Default: 50 ms doubling to 5 s, with jitter, for ever. */
  readonly reconnect?: Schedule.Schedule<unknown, StoreError> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Registers a reliable consumer: from now on no event is discarded before it has acknowledged it. May be repeated
   * (FTN18): an existing registration stays as it is. Answers with the cursor: the id before the first event that it
   * will get, undefined if that is the stream's very first. `EventsDiscarded`: an event after the given id is not in the
   * log any more.
   */
  readonly register: (
    consumer: Consumer,
    options?: {
      /** Default: "beginning", the first retained event. */
      readonly from?: From | undefined
      /**
       * Who may move its cursor: `shared` (default), polls and the receiver of the Pusher alike, as FTN18 lets a consumer mix
       * them; `exclusive`, only the receiver with the lease.
       */
      readonly mode?: "shared" | "exclusive" | undefined
    }
  ) => Effect.Effect<
    EventId | undefined,
    InvalidConsumer | InvalidOption | LiveNotAllowed | CursorAhead | EventsDiscarded | InsideTransaction | StoreError
  >
  /** Removes a registration and its cursor. */
  readonly unregister: (
    consumer: Consumer
  ) => Effect.Effect<void, InvalidConsumer | LiveNotAllowed | NotRegistered | InsideTransaction | StoreError>
  /**
   * The next events of a registered consumer, or of `LIVE`, after acknowledging everything up to `lastId`. Looks at
   * 10 000 rows at most, whatever is wanted: an empty batch may still move on. Sequences what is committed first, if
   * the log alone has less than asked for.
   */
  readonly poll: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    consumer: Consumer,
    options?: PollOptions<W, C>
  ) => Effect.Effect<Batch<Wanted<W, C>>, PollError>
  /**
   * The events of a registered consumer as an endless stream of deliveries, from its cursor on. The next batch is read
   * while the last one is handled; nothing is acknowledged but by `ack`. Failures of the database are retried.
   * `Delivery.handle` (module Delivery) is the usual way to consume it.
   */
  readonly stream: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    consumer: Consumer,
    options?: StreamOptions<W, C>
  ) => Stream.Stream<Delivery<Wanted<W, C>>, PollError | LiveNotAllowed | EventsDiscarded>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Poller extends Context.Tag("effect-eventstream/Poller")<Poller, Service>() {}
