/**
 * The port to the active area: the only thing below the services that reads and writes the tables. Its adapter is
 * `layers/sql/store.ts`.
 *
 * @since 0.1.0
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { NewEvent, StoredEvent } from "../Event.js"
import type { EventId } from "../EventId.js"
import type {
  EventsDiscarded,
  ForeignTransaction,
  InsideTransaction,
  InvalidOption,
  NotInTransaction,
  OutcomeUnknown,
  StoreError,
  TransactionFailed,
  TransactionLost
} from "../EventStreamError.js"
import type { Redaction, Sums } from "./HistoryStore.js"

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
  /** Whether the consumer is paused. */
  readonly paused: boolean
  /** Whether only a receiver with the lease may move its cursor; so it is with partitions. */
  readonly exclusive: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Registration {
  readonly ident: string
  readonly from: Start
  readonly exclusive: boolean
}

/**
 * A registered consumer as it is stored. Times are milliseconds since 1970, `now` the database's clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConsumerRow {
  readonly ident: string
  readonly cursor: bigint
  readonly head: bigint
  readonly now: number
  /** `ts` of the first event after its cursor. */
  readonly waitingSince: number | undefined
  readonly paused: string | undefined
  readonly exclusive: boolean
  readonly lease: { readonly owner: string; readonly expiresIn: number } | undefined
  /** By number; none of an ordinary consumer. `cursor` is the smallest of theirs. */
  readonly partitions: ReadonlyArray<PartitionRow & { readonly waitingSince: number | undefined }>
  readonly deadLetters: number
  readonly parked: number
  readonly registeredAt: number
  readonly movedAt: number
}

/**
 * The events of which partition: those whose hash of the key, divided by `of`, leaves `number`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Part {
  readonly number: number
  readonly of: number
}

/**
 * A partition as it is stored. `owner`: the member of the group that has its lease, or had it and did not give it back:
 * then it has run out.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionRow {
  readonly number: number
  readonly cursor: bigint
  readonly epoch: bigint
  readonly lease: { readonly owner: string; readonly expiresIn: number } | undefined
}

/**
 * Gives a consumer partitions, 0 for none, that start where it is: at the smallest cursor of those that it has. Nobody who
 * works on it can go on.
 *
 * @since 0.1.0
 * @category models
 */
export interface LayOut {
  readonly ident: string
  readonly partitions: number
  readonly actor: string
  /** With an epoch only if that is still its own and it has no partitions. */
  readonly epoch: bigint | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export type LaidOut =
  | { readonly _tag: "LaidOut"; readonly cursor: bigint }
  | { readonly _tag: "NotRegistered" }
  | { readonly _tag: "Fenced"; readonly partitions: number }

/**
 * A look at a group, and what its member has to say.
 *
 * @since 0.1.0
 * @category models
 */
export interface GroupRequest {
  readonly ident: string
  /** Moves the consumer's cursor on to the smallest of its partitions, if that is its epoch. */
  readonly epoch: bigint | undefined
  /** Partitions that have seen nothing of their own up to there, by their epochs: their cursors move on. */
  readonly passed: ReadonlyArray<{ readonly partition: number; readonly epoch: bigint; readonly upTo: bigint }>
}

/**
 * Who is there, and who has what, by one look.
 *
 * @since 0.1.0
 * @category models
 */
export interface GroupView {
  /** Of the consumer itself. */
  readonly epoch: bigint
  readonly cursor: bigint
  readonly paused: boolean
  /** By number. */
  readonly partitions: ReadonlyArray<PartitionRow>
  readonly members: ReadonlyArray<{ readonly owner: string; readonly expiresIn: number }>
  /** Leases of members that ran out. */
  readonly dead: ReadonlyArray<Lease>
}

/**
 * `detail`: where to, as JSON text, for the record.
 *
 * @since 0.1.0
 * @category models
 */
export interface ResetRequest {
  readonly ident: string
  readonly to: Start
  readonly actor: string
  readonly detail: string
}

/**
 * What came of a reset. `Forward`: an archiver, which is moved back only.
 *
 * @since 0.1.0
 * @category models
 */
export type Reset =
  | { readonly _tag: "Reset"; readonly cursor: bigint }
  | { readonly _tag: "NotRegistered" }
  | { readonly _tag: "Discarded"; readonly discardedTo: bigint }
  | { readonly _tag: "Forward"; readonly cursor: bigint }

/**
 * How many were erased.
 *
 * @since 0.1.0
 * @category models
 */
export interface Erased {
  readonly log: number
  readonly deadLetters: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Restored {
  readonly generation: number
  readonly head: bigint
}

/**
 * @since 0.1.0
 * @category models
 */
export interface AuditRow {
  readonly id: bigint
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly ident: string | undefined
  readonly detail: string
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
 * Asks for the lease of a consumer, or of one of its partitions (`local:C#3`), which are claimed, stepped and settled by
 * that ident in the same way, or of a member of its group (`local:C@M`). `owner` is a token of the one receiver, not of its
 * process.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimRequest {
  readonly ident: string
  readonly owner: string
  /** How long the lease lasts from now on the database's clock, milliseconds. */
  readonly ttl: number
  /** Takes it from whoever has it. */
  readonly force: boolean
}

/**
 * What asking for a lease gave. `epoch` is what the cursor may be moved with, until somebody else claims.
 *
 * @since 0.1.0
 * @category models
 */
export type Claim =
  | {
    readonly _tag: "Claimed"
    readonly epoch: bigint
    readonly cursor: bigint
    /** How many partitions the consumer has. */
    readonly partitions: number
  }
  /** The consumer is not claimed as a whole. */
  | { readonly _tag: "Partitioned"; readonly partitions: number }
  | { readonly _tag: "Busy"; readonly owner: string; readonly expiresIn: number }
  | { readonly _tag: "Paused"; readonly why: string }
  | { readonly _tag: "NotRegistered" }

/**
 * A lease as its owner knows it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lease {
  readonly ident: string
  readonly owner: string
}

/**
 * An event that a consumer gave up. Parked: those of the same key that come later are kept behind it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter {
  readonly row: StoredEvent
  readonly error: string
  readonly attempts: number
  readonly parked: boolean
}

/**
 * A dead letter as it is stored: the event as a whole, whatever becomes of the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface Letter {
  readonly row: StoredEvent
  readonly error: string
  readonly attempts: number
  readonly parked: boolean
  /** Marked to be delivered again. */
  readonly redrive: boolean
  /** Milliseconds since 1970. */
  readonly failedAt: number
}

/**
 * Which letters to read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Letters {
  readonly ident: string
  readonly key?: string | undefined
  /** Only those marked to be delivered again. */
  readonly redrive?: boolean | undefined
  readonly partition?: Part | undefined
}

/**
 * Which letters to change.
 *
 * @since 0.1.0
 * @category models
 */
export interface LettersOf {
  readonly ident: string
  readonly of: "all" | { readonly key: string } | { readonly ids: ReadonlyArray<bigint> }
}

/**
 * What became of a letter that was delivered again: handled, it is deleted; failed, it stays, and so do the parked ones
 * of its key that follow it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settled {
  readonly ident: string
  readonly epoch: bigint
  readonly id: bigint
  readonly key: string | null
  readonly failed: { readonly error: string; readonly attempts: number } | undefined
}

/**
 * A step of a consumer: its cursor, fenced by the epoch of its lease, and the events that it gave up on the way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly ident: string
  readonly epoch: bigint
  readonly upTo: bigint
  readonly deadLetters: ReadonlyArray<DeadLetter>
}

/**
 * Whether a step was taken: `fenced`, somebody else has claimed the consumer since.
 *
 * @since 0.1.0
 * @category models
 */
export type Stepped = "done" | "fenced" | "unregistered"

/**
 * A time of the stream between two restorations of its database: it has the ids above `after`, up to the next one's.
 *
 * @since 0.1.0
 * @category models
 */
export interface Generation {
  readonly generation: number
  readonly after: bigint
}

/**
 * What is known of events that have left, or may leave, the log. Positions are 0 where there is none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Retention {
  /** Whether an archiver has ever registered. */
  readonly archiveRequired: boolean
  /** How far archivers had come that are not registered any more. */
  readonly archivedTo: bigint
  /** The last id that was discarded. */
  readonly discardedTo: bigint
}

/**
 * A batch of what may be deleted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Discard {
  /** The last id that is known to be discarded: nothing at or below it is looked at. */
  readonly after: bigint
  /** How many events at most. */
  readonly limit: number
  /** Younger events stay, milliseconds. */
  readonly keepMillis: number
  /** What the caller said is to be kept: without it nothing is deleted while nobody is registered. */
  readonly retain: { readonly events: number } | undefined
  readonly requireArchived: "auto" | "always" | "never"
  /** Consumers to unregister if they are still as they were seen. */
  readonly evict: ReadonlyArray<Behind>
}

/**
 * A consumer that is behind. `since`: when it moved its cursor last, milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export interface Behind {
  readonly ident: string
  readonly cursor: bigint
  readonly since: number
}

/**
 * What a batch has deleted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Discarded {
  readonly deleted: number
  readonly evicted: ReadonlyArray<string>
  /** The last id given. */
  readonly head: bigint
  readonly discardedTo: bigint
}

/**
 * What is left of the log, and who holds it back, in one snapshot.
 *
 * @since 0.1.0
 * @category models
 */
export interface Remaining extends Retention {
  /** The last id given. */
  readonly head: bigint
  readonly archiverRegistered: boolean
  /** How many consumers are registered. */
  readonly registered: number
  /** The first event that is left; times in milliseconds since 1970. */
  readonly first: { readonly id: bigint; readonly ts: number } | undefined
  /** The database's clock, milliseconds since 1970. */
  readonly now: number
  /** All consumers at the smallest cursor. */
  readonly furthestBehind: ReadonlyArray<Behind>
  /** Those whose cursor has stood still for the age that was asked for although an event of that age waits for them. */
  readonly stale: ReadonlyArray<Behind>
}

/**
 * What one look says about the health of the active area. Times are milliseconds since 1970 on the database's clock.
 *
 * @since 0.1.0
 * @category models
 */
export interface Vitals {
  readonly kind: "PostgreSQL" | "MySQL" | "MariaDB" | "SQLite"
  readonly version: string
  readonly schemaVersion: number
  readonly generation: number
  readonly now: number
  readonly head: bigint
  readonly discardedTo: bigint
  /** Committed events without an id, counted up to 10 000, and the `ts` of the oldest one. */
  readonly unsequenced: { readonly count: number; readonly oldest: number | undefined }
  /** Leases that ran out and were neither renewed nor given back. */
  readonly expired: ReadonlyArray<{ readonly ident: string; readonly owner: string; readonly since: number }>
}

/**
 * A setting of the database that matters, and what to do where it is not as it should be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Setting {
  readonly name: string
  readonly value: string
  readonly level: "ok" | "warning" | "problem"
  readonly advice: string
}

/**
 * @since 0.1.0
 * @category models
 */
export type Where = "here" | "elsewhere"

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
    readonly partition?: Part | undefined
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<StoredEvent>, StoreError>
  /** Registers, or leaves a registration as it is; the cursor it has now. Not after an id whose successor is discarded. */
  readonly register: (registration: Registration) => Effect.Effect<bigint, EventsDiscarded | StoreError>
  /** False if it was not registered. */
  readonly unregister: (ident: string) => Effect.Effect<boolean, StoreError>
  /** Moves the cursor forward to `upTo`, never back. */
  readonly acknowledge: (ident: string, upTo: bigint) => Effect.Effect<void, StoreError>
  /** Takes the lease of a consumer if it is free, expired, its owner's, or by force; that raises the epoch. */
  readonly claim: (request: ClaimRequest) => Effect.Effect<Claim, StoreError>
  /** Prolongs the leases in one statement; those that their owners still have. */
  readonly renew: (leases: ReadonlyArray<Lease>, ttl: number) => Effect.Effect<ReadonlyArray<Lease>, StoreError>
  readonly release: (leases: ReadonlyArray<Lease>) => Effect.Effect<void, StoreError>
  readonly layOut: (request: LayOut) => Effect.Effect<LaidOut, StoreError>
  /** Undefined if the consumer is not registered. */
  readonly group: (request: GroupRequest) => Effect.Effect<GroupView | undefined, StoreError>
  /** Moves a fenced cursor in a transaction of its own. The cursor never goes back. */
  readonly step: (step: Step) => Effect.Effect<Stepped, StoreError>
  /** The same in the caller's transaction, as its last statement. */
  readonly stepWithin: (step: Step) => Effect.Effect<Stepped, NotInTransaction | ForeignTransaction | StoreError>
  /**
   * Pauses a consumer: its lease ends, its epoch is raised, nobody may claim it until it is resumed. With an epoch only
   * if that is still its own.
   */
  readonly pause: (
    pause: {
      readonly ident: string
      readonly why: string
      readonly actor: string
      readonly epoch: bigint | undefined
    }
  ) => Effect.Effect<Stepped, StoreError>
  /** False if it is not registered. */
  readonly resume: (ident: string, actor: string) => Effect.Effect<boolean, StoreError>
  /** The keys of a consumer's parked events, and how many each has. */
  readonly parkedKeys: (ident: string) => Effect.Effect<ReadonlyMap<string, number>, StoreError>
  /** Dead letters by id. */
  readonly letters: (
    which: Letters & { readonly after: bigint; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<Letter>, StoreError>
  /**
   * Marks letters to be delivered again, a parked one with all of its key, and makes a receiver at work start again. How
   * many are marked now.
   */
  readonly redrive: (which: LettersOf, actor: string) => Effect.Effect<number, StoreError>
  /** Deletes letters, how many; a receiver at work starts again. */
  readonly drop: (which: LettersOf, actor: string) => Effect.Effect<number, StoreError>
  readonly settle: (settled: Settled) => Effect.Effect<Stepped, StoreError>
  /** The same in the caller's transaction, as its last statement. */
  readonly settleWithin: (
    settled: Settled
  ) => Effect.Effect<Stepped, NotInTransaction | ForeignTransaction | StoreError>
  readonly consumers: Effect.Effect<ReadonlyArray<ConsumerRow>, StoreError>
  readonly reset: (request: ResetRequest) => Effect.Effect<Reset, StoreError>
  /** Unregisters, and records it; false if it was not registered. */
  readonly remove: (
    request: { readonly ident: string; readonly actor: string; readonly deadLetters: "keep" | "drop" }
  ) => Effect.Effect<boolean, StoreError>
  /** Erases events of the log and deletes their dead letters. */
  readonly redact: (which: Redaction, actor: string) => Effect.Effect<Erased, StoreError>
  /** Starts a new generation, after that of `atLeast` and the last one, with ids above its id and all that were given. */
  readonly restored: (
    actor: string,
    atLeast: { readonly generation: number; readonly id: bigint }
  ) => Effect.Effect<Restored, StoreError>
  /** What was done, the newest first. */
  readonly audit: (
    options: { readonly ident: string | undefined; readonly before: bigint | undefined; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<AuditRow>, StoreError>
  /** From the first on. */
  readonly generations: Effect.Effect<ReadonlyArray<Generation>, StoreError>
  readonly retention: Effect.Effect<Retention, StoreError>
  readonly vitals: Effect.Effect<Vitals, StoreError>
  readonly settings: Effect.Effect<ReadonlyArray<Setting>, StoreError>
  /** Of the events with `from <= id <= to`. */
  readonly sums: (from: bigint, to: bigint) => Effect.Effect<Sums, StoreError>
  /** Deletes a batch of what may be deleted, in one transaction that nobody registers or unregisters beside. */
  readonly discard: (discard: Discard) => Effect.Effect<Discarded, StoreError>
  /** `staleAfter`: in milliseconds; undefined where nobody is reported as stale. */
  readonly remaining: (staleAfter: number | undefined) => Effect.Effect<Remaining, StoreError>
  /** Whether a client is one of the stream's database, so that its statements join our transactions. */
  readonly owns: (sql: SqlClient.SqlClient) => Effect.Effect<boolean, StoreError>
  /**
   * Calls `listener` when something was probably committed or sequenced, in this process or elsewhere: a hint, never the
   * truth.
   */
  readonly hints: (listener: (where: Where) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Gives such a hint. */
  readonly hint: (where: Where) => void
  /** Something that is cheap to ask and differs after a commit of anybody; undefined where there is nothing like it. */
  readonly changes: Effect.Effect<unknown, StoreError> | undefined
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
