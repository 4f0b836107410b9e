/**
 * Events as they commit: FTN18 2.2.2 to 2.2.5. In the original: PushFace, ReliableReceiver, LiveReceiver.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { Consumer } from "../Consumer.js"
import type { Want, Wanted } from "../Event.js"
import type { EventId } from "../EventId.js"
import type {
  ConsumerBusy,
  ConsumerFenced,
  CursorAhead,
  EventsDiscarded,
  ForeignTransaction,
  HandlerFailed,
  InsideTransaction,
  InvalidConsumer,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  StoreError
} from "../EventStreamError.js"
import type { Catalog, EventType } from "../EventType.js"
import type { Isolation } from "./EventStore.js"
import type { Delivery, From } from "./Poller.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface SubscribeOptions<W extends Want | undefined, C extends EventType.Any> {
  /** Types to deliver, as declarations or names. Left out: all. */
  readonly want?: W | undefined
  /** Declarations to decode with where `want` is left out. */
  readonly catalog?: Catalog<C> | undefined
  /** How many events a batch has at most, 1 to 1000. Default 1000. */
  readonly limit?: number | undefined
  /** Registers the consumer first, if it is not registered yet. */
  readonly register?:
    | { readonly from?: From | undefined; readonly mode?: "shared" | "exclusive" | undefined }
    | undefined
  /** How many batches may be unacknowledged before the next one is held back. Default 4. */
  readonly maxInFlight?: number | undefined
  /**
   * One receiver of a consumer is active at a time, in all processes. While there is another: `wait` (default) stands by
   * and takes over when it ends or its lease runs out, `takeOver` fences it out at once, `fail` is `ConsumerBusy`.
   */
  readonly whenBusy?: "wait" | "takeOver" | "fail" | undefined
  /** The pauses between attempts while the database fails. Default: 50 ms doubling to 5 s, with jitter, for ever. */
  readonly reconnect?: Schedule.Schedule<unknown, StoreError> | undefined
}

/**
 * What a handler is given: single events, or with `{ batch }` a whole batch at once.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<E, X, R> =
  | ((event: E) => Effect.Effect<unknown, X, R>)
  | { readonly batch: (events: ReadonlyArray<E>) => Effect.Effect<unknown, X, R> }

/**
 * @since 0.1.0
 * @category models
 */
export interface RunOptions<W extends Want | undefined, C extends EventType.Any> extends SubscribeOptions<W, C> {
  /**
   * When a failed handler is called again; after its end the event is poison. Default: 100 ms doubling to 30 s with
   * jitter, 8 times.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** How long one call of the handler may take before it is interrupted and counts as failed. Default 30 s. */
  readonly timeLimit?: Duration.DurationInput | undefined
  /**
   * What becomes of an event that the handler cannot do: `stop` (default) ends the run with `HandlerFailed` and leaves the
   * cursor before it; `skip` goes on after a log line; `deadLetter` keeps event, error, attempts and time in the table
   * `dead_letters`, in the cursor's transaction, and goes on; `parkKey` does that, too, and parks what comes later of the
   * same key behind it, so that the order by key holds when `Consumers.redrive` delivers them (what has no key parks nothing); `pause` leaves the cursor
   * before the event and pauses the consumer, in all processes, until `Consumers.resume`.
   */
  readonly poison?: "stop" | "skip" | "deadLetter" | "parkKey" | "pause" | undefined
  /** With more parked events than this the consumer is paused. Default 1000. */
  readonly maxParked?: number | undefined
  /**
   * Shares the consumer among all the processes that run it: the events are divided into so many partitions by their keys,
   * 2 to 256, and each process handles those of a fair share of them, in order by key. The first run lays them out where the
   * consumer is; from then on every run has to give the same number (`InvalidOption` says which), until
   * `Consumers.repartition`. With it, a batch, `concurrency`, the transaction of `exactlyOnce` and `maxParked` are those of a
   * partition, and `whenBusy` is about the receiver without partitions that may be at work before. Default: the consumer as a
   * whole in one process at a time.
   */
  readonly partitions?: number | undefined
  /** How many events are handled at a time; those of one key stay in order. Default 1. Not with `exactlyOnce`. */
  readonly concurrency?: number | undefined
  /**
   * The handler of a batch and the cursor commit in one transaction of the stream's database: what the handler writes
   * there with its `SqlClient` takes effect exactly once. The events of a batch, and of `limit`, share the transaction.
   */
  readonly exactlyOnce?: boolean | undefined
  /** Isolation level of that transaction. Default: the server's. */
  readonly isolation?: Isolation | undefined
}

/**
 * In a live stream: `missed` events up to the id `upTo` were not delivered, because the subscriber was too slow.
 *
 * @since 0.1.0
 * @category models
 */
export class Gap extends Data.TaggedClass("Gap")<{ readonly missed: number; readonly upTo: EventId }> {}

/**
 * @since 0.1.0
 * @category models
 */
export interface LiveOptions<C extends EventType.Any> {
  /** Declarations to decode with where nothing is said about what is wanted. */
  readonly catalog?: Catalog<C> | undefined
  /** How many events the subscriber may be behind before the oldest are dropped. Default 10 000. */
  readonly buffer?: number | undefined
  readonly reconnect?: Schedule.Schedule<unknown, StoreError> | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type SubscribeError =
  | InvalidConsumer
  | InvalidOption
  | LiveNotAllowed
  | NotRegistered
  | CursorAhead
  | EventsDiscarded
  | ConsumerBusy
  | ConsumerFenced
  | InsideTransaction
  | StoreError

/**
 * @since 0.1.0
 * @category errors
 */
export type AckError = ConsumerFenced | NotRegistered | StoreError

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * The events of a registered consumer as an endless stream of deliveries: history from its cursor on, then the live
   * tail, without a gap or a repeat where they meet. Nothing is acknowledged but by `ack`; `Delivery.handle` (module
   * Delivery) does it when a chunk has been handled. Ends with `ConsumerFenced` when another receiver took over: run it
   * again to stand by.
   */
  readonly subscribe: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    consumer: Consumer,
    options?: SubscribeOptions<W, C>
  ) => Stream.Stream<Delivery<Wanted<W, C>, AckError>, SubscribeError>
  /**
   * Events from now on, without registration and without acknowledgement (FTN18: LIVE). A subscriber that is too slow
   * loses the oldest events and is told how many by a `Gap`.
   */
  readonly live: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    want?: W,
    options?: LiveOptions<C>
  ) => Stream.Stream<Wanted<W, C> | Gap, InvalidOption | InsideTransaction | StoreError>
  /**
   * Handles the events of a registered consumer until it is interrupted: with retries, a time limit, a policy for the
   * event that cannot be handled, order by key, standing by while another receiver is active.
   */
  readonly run: <X, R, const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    consumer: Consumer,
    handler: Handler<Wanted<W, C>, X, R>,
    options?: RunOptions<W, C>
  ) => Effect.Effect<never, Exclude<SubscribeError, ConsumerFenced> | HandlerFailed | ForeignTransaction, R>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Pusher extends Context.Tag("effect-eventstream/Pusher")<Pusher, Service>() {}
