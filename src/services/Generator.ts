/**
 * Writing events. In the original: GenFace and DBGenFace.addXferEvent.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { EmitOptions, NewEvent } from "../Event.js"
import type { EventId } from "../EventId.js"
import type {
  ForeignTransaction,
  InsideTransaction,
  InvalidEvent,
  InvalidOption,
  NotInTransaction,
  OutcomeUnknown,
  StoreError,
  TransactionFailed,
  TransactionLost
} from "../EventStreamError.js"
import type { EventType } from "../EventType.js"
import type { Isolation } from "./EventStore.js"

/**
 * An event together with its declaration, as `event` makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Declared {
  readonly type: EventType.Any
  readonly data: unknown
  readonly options: EmitOptions | undefined
}

/**
 * Pairs a declaration with its data, for `emitAll`, `addAll` and `statement`. The compiler checks the pair.
 *
 * @since 0.1.0
 * @category constructors
 */
export const event = <T extends EventType.Any>(type: T, data: EventType.Data<T>, options?: EmitOptions): Declared => ({
  type,
  data,
  options
})

/**
 * @since 0.1.0
 * @category models
 */
export interface TransactionOptions {
  /** Isolation level; by default the server's. SQLite is always serializable. */
  readonly isolation?: Isolation | undefined
  /**
   * Runs the whole transaction again, by this schedule, while it fails with something retryable (a deadlock, a
   * serialization failure, a busy file, a lost connection with a known outcome). By default it is run once.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Writes one event into the transaction around it (`transaction`, or `sql.withTransaction` of the stream's client):
   * it is delivered if and only if that transaction commits. Answers with the event's uid; its id is given after the
   * commit. Refuses data that does not fit with `InvalidEvent`, before anything is written.
   */
  readonly emit: <T extends EventType.Any>(
    type: T,
    data: EventType.Data<T>,
    options?: EmitOptions
  ) => Effect.Effect<
    string,
    InvalidEvent | NotInTransaction | ForeignTransaction | TransactionLost | StoreError
  >
  /** The same for many events with one statement, in order. Nothing is written if one of them is invalid. */
  readonly emitAll: (
    events: ReadonlyArray<Declared>
  ) => Effect.Effect<
    ReadonlyArray<string>,
    InvalidEvent | NotInTransaction | ForeignTransaction | TransactionLost | StoreError
  >
  /**
   * Runs `effect` in a transaction of the stream's database. Statements of the user's `SqlClient` and `emit` inside it
   * join it; nested in another transaction of that database it is a savepoint. Its end is certain or typed:
   * `TransactionFailed` says whether anything is stored and whether it makes sense to try again; `TransactionLost` that
   * the database rolled back earlier and the program went on. On SQLite the write lock is taken at the start.
   */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: TransactionOptions
  ) => Effect.Effect<A, E | TransactionFailed | TransactionLost | InvalidOption, R>
  /**
   * Writes one event in a transaction of its own and answers with its id. Concurrent adds of a process are written
   * together. Interrupted before its batch is taken, nothing is written.
   */
  readonly add: <T extends EventType.Any>(
    type: T,
    data: EventType.Data<T>,
    options?: EmitOptions
  ) => Effect.Effect<EventId, InvalidEvent | InsideTransaction | OutcomeUnknown | StoreError>
  /** The same for many events: all or none, with consecutive places in the order. */
  readonly addAll: (
    events: ReadonlyArray<Declared>
  ) => Effect.Effect<ReadonlyArray<EventId>, InvalidEvent | InsideTransaction | OutcomeUnknown | StoreError>
  /**
   * As `addAll`, for events that were encoded elsewhere, by `Event.make` or `Event.fromJson` of another process or of a
   * gateway: they are checked again, and written as they are.
   */
  readonly append: (
    events: ReadonlyArray<NewEvent>
  ) => Effect.Effect<ReadonlyArray<EventId>, InvalidEvent | InsideTransaction | OutcomeUnknown | StoreError>
  /**
   * The INSERT that `emitAll` would send, with its parameters in order, for a transaction of another library. It must
   * be run inside that transaction; nothing here can check that it is.
   */
  readonly statement: (
    events: ReadonlyArray<Declared>
  ) => Effect.Effect<
    { readonly sql: string; readonly params: ReadonlyArray<unknown>; readonly uids: ReadonlyArray<string> },
    InvalidEvent
  >
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Generator extends Context.Tag("effect-eventstream/Generator")<Generator, Service>() {}
