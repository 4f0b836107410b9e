/**
 * The port to the active area: the only thing below the services that reads and writes the tables. Its adapter is
 * `layers/sql/store.ts`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { NewEvent, StoredEvent } from "../Event.js"
import type { EventId } from "../EventId.js"
import type {
  ForeignTransaction,
  InsideTransaction,
  InvalidOption,
  NotInTransaction,
  OutcomeUnknown,
  StoreError,
  TransactionFailed,
  TransactionLost
} from "../EventStreamError.js"

/**
 * Isolation levels by their SQL names. SQLite has only `serializable` and takes every other as that.
 *
 * @since 0.1.0
 * @category models
 */
export type Isolation = "read committed" | "repeatable read" | "serializable"

/**
 * Where a registration starts: with the first retained event, after the last one, after the given id, or at the first
 * event whose `ts` is not before the given time (milliseconds since 1970).
 *
 * @since 0.1.0
 * @category models
 */
export type Start = "beginning" | "end" | { readonly after: EventId } | { readonly time: number }

/**
 * One look at the stream and, where one was named, at a consumer: one statement, one snapshot. Positions are 0 where
 * there is no id yet.
 *
 * @since 0.1.0
 * @category models
 */
export interface Look {
  readonly generation: number
  /** The last id given. */
  readonly head: bigint
  /** The cursor; undefined if the consumer is not registered. */
  readonly cursor: bigint | undefined
  /** The last id of the window of rows after the position; undefined if there are none, or no window was asked for. */
  readonly bound: bigint | undefined
}

/**
 * What sequencing did.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sequenced {
  /** How many events were taken from the queue. -1: another one is at it. */
  readonly taken: number
  /** The last id given, read after that. */
  readonly head: bigint
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** UUID of the stream, made when its tables were. */
  readonly stream: string
  /** Statements of the caller's transaction: writes `events` into it. Nothing is sent for an empty array. */
  readonly emit: (
    events: ReadonlyArray<NewEvent>
  ) => Effect.Effect<void, NotInTransaction | ForeignTransaction | TransactionLost | StoreError>
  /** Runs `effect` in a transaction of the stream's database, which statements of the user's client join. */
  readonly transaction: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options: { readonly isolation: Isolation | undefined }
  ) => Effect.Effect<A, E | TransactionFailed | TransactionLost | InvalidOption, R>
  /** SQL that inserts `events`, for transactions that are not ours; parameters in order. */
  readonly statement: (
    events: ReadonlyArray<NewEvent>
  ) => { readonly sql: string; readonly params: ReadonlyArray<unknown> }
  /** Writes events in a transaction of their own and gives their ids, in order. */
  readonly append: (
    events: ReadonlyArray<NewEvent>
  ) => Effect.Effect<ReadonlyArray<EventId>, StoreError | OutcomeUnknown>
  /**
   * Moves at most `limit` committed events from the queue to the log and gives them ids.
   */
  readonly sequence: (limit: number) => Effect.Effect<Sequenced, StoreError>
  /** False where a commit gives the ids itself (SQLite): nothing needs to sequence. */
  readonly sequenced: boolean
  readonly look: (options: {
    readonly ident: string | undefined
    /** Position to look from; the larger of it and the cursor counts. */
    readonly after: bigint
    /** How many rows the window has; 0 for none. */
    readonly window: number
  }) => Effect.Effect<Look, StoreError>
  /** Events with `after < id` (and `id <= upTo`), of the given types, oldest first. */
  readonly page: (options: {
    readonly after: bigint
    readonly upTo: bigint | undefined
    readonly types: ReadonlyArray<string> | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreError>
  /** Registers, or leaves a registration as it is; the cursor it has now. */
  readonly register: (ident: string, from: Start) => Effect.Effect<bigint, StoreError>
  /** False if it was not registered. */
  readonly unregister: (ident: string) => Effect.Effect<boolean, StoreError>
  /** Moves the cursor forward to `upTo`, never back. */
  readonly acknowledge: (ident: string, upTo: bigint) => Effect.Effect<void, StoreError>
  /** Calls `listener` when something was probably committed: a hint, never the truth. */
  readonly hints: (listener: () => void) => Effect.Effect<void, never, Scope.Scope>
  /**
   * For services that need a connection of their own: fails inside a transaction of the stream's database and takes any
   * other transaction out of the effect's context.
   */
  readonly outside: <A, E, R>(
    operation: string,
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | InsideTransaction | StoreError, R>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class EventStore extends Context.Tag("effect-eventstream/EventStore")<EventStore, Service>() {}
