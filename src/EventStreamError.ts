/**
 * Every failure that a caller of this library can expect, as a tagged error with the fields that a person needs to act.
 * They are `Schema.TaggedError`s: they can cross a wire as they are.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { classify, sqlErrorOf } from "./internal/sqlError.js"

/** Ids travel as decimal strings: no number parser on the way can change one. */
const Id = Schema.BigInt

/**
 * An event that cannot be emitted: nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidEvent extends Schema.TaggedError<InvalidEvent>()("InvalidEvent", {
  /** The event type, as far as it is known. */
  type: Schema.String,
  /** Which part is wrong: `type`, `data`, `key`, `meta`, `dedupeKey`. */
  part: Schema.String,
  /** What is wrong with which value, as a sentence. */
  reason: Schema.String
}) {
  override get message() {
    return `Event ${this.type}: ${this.part} ${this.reason}`
  }
}

/**
 * A consumer name of the wrong form (FTN18 2.2.4: user and component).
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidConsumer extends Schema.TaggedError<InvalidConsumer>()("InvalidConsumer", {
  part: Schema.Literal("user", "component"),
  value: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `The ${this.part} of a consumer must be ${this.expected}, not ${this.value}`
  }
}

/**
 * An option or argument outside its range. Nothing was read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>()("InvalidOption", {
  option: Schema.String,
  value: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.option} must be ${this.expected}, not ${this.value}`
  }
}

/**
 * `emit` was called outside of a transaction. Use `Generator.transaction` or `sql.withTransaction` around the change
 * and its events, or `add` for an event without a change.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotInTransaction extends Schema.TaggedError<NotInTransaction>()("NotInTransaction", {
  operation: Schema.String
}) {
  override get message() {
    return `${this.operation} needs a transaction around it: use Generator.transaction or sql.withTransaction, or add`
  }
}

/**
 * Something that needs a connection of its own was called inside a transaction of the stream's database, where it would
 * deadlock (SQLite) or starve the pool.
 *
 * @since 0.1.0
 * @category errors
 */
export class InsideTransaction extends Schema.TaggedError<InsideTransaction>()("InsideTransaction", {
  operation: Schema.String
}) {
  override get message() {
    return `${this.operation} cannot run inside a transaction of the stream's own database: call it before or after`
  }
}

/**
 * The transaction around `emit` belongs to another database or another stream: the event would not commit with the
 * data.
 *
 * @since 0.1.0
 * @category errors
 */
export class ForeignTransaction extends Schema.TaggedError<ForeignTransaction>()("ForeignTransaction", {
  operation: Schema.String
}) {
  override get message() {
    return `${this.operation}: the transaction around it is of another database than the stream's`
  }
}

/**
 * The transaction around `emit` is gone although the program is still inside it: the database rolled it back (a
 * deadlock on MySQL/MariaDB, any error on PostgreSQL) and the program went on. Nothing of it is or will be stored.
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionLost extends Schema.TaggedError<TransactionLost>()("TransactionLost", {
  operation: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message() {
    return `${this.operation}: the database has already rolled this transaction back after an earlier error; let that error end it`
  }
}

/**
 * Why a database did not do what it was asked to.
 *
 * @since 0.1.0
 * @category models
 */
export const StoreReason = Schema.Literal(
  "connection",
  "deadlock",
  "serialization",
  "busy",
  "full",
  "permission",
  "timeout",
  "other"
)

/**
 * @since 0.1.0
 * @category models
 */
export type StoreReason = typeof StoreReason.Type

/**
 * `Generator.transaction` could not commit. `outcome` says what is known: `rolledBack` = nothing of it is stored;
 * `unknown` = the answer to COMMIT was lost and the database could not be asked. `retryable` = the same transaction may
 * succeed when run again (a serialization failure, a deadlock, a busy file).
 *
 * @since 0.1.0
 * @category errors
 */
export class TransactionFailed extends Schema.TaggedError<TransactionFailed>()("TransactionFailed", {
  phase: Schema.Literal("begin", "commit"),
  retryable: Schema.Boolean,
  outcome: Schema.Literal("rolledBack", "unknown"),
  reason: StoreReason,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message() {
    const what = this.outcome === "rolledBack" ? "nothing of it is stored" : "it is not known whether it is stored"
    return `The transaction failed at ${this.phase} (${this.reason}): ${what}${causeText(this.cause)}`
  }
}

/**
 * The answer to a write was lost and the database could not be asked whether it is stored. Look for `uids` before
 * trying again, or use a `dedupeKey`.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>()("OutcomeUnknown", {
  uids: Schema.Array(Schema.String),
  cause: Schema.optional(Schema.Defect)
}) {
  override get message() {
    return `It is not known whether ${this.uids.length} event(s) are stored (uid ${this.uids[0]}…)${
      causeText(this.cause)
    }`
  }
}

/**
 * The consumer is not registered (FTN18 2.2).
 *
 * @since 0.1.0
 * @category errors
 */
export class NotRegistered extends Schema.TaggedError<NotRegistered>()("NotRegistered", {
  consumer: Schema.String
}) {
  override get message() {
    return `Consumer ${this.consumer} is not registered: call Poller.register first`
  }
}

/**
 * `LIVE` is reserved for unregistered polling (FTN18 2.2.4): it cannot be registered.
 *
 * @since 0.1.0
 * @category errors
 */
export class LiveNotAllowed extends Schema.TaggedError<LiveNotAllowed>()("LiveNotAllowed", {
  operation: Schema.String
}) {
  override get message() {
    return `${this.operation}: LIVE is the name of unregistered polling and cannot be registered`
  }
}

/**
 * The given id is above the last id that the stream ever gave: a typing error, or the database was put back in time.
 *
 * @since 0.1.0
 * @category errors
 */
export class CursorAhead extends Schema.TaggedError<CursorAhead>()("CursorAhead", {
  consumer: Schema.String,
  cursor: Id,
  head: Id
}) {
  override get message() {
    return `Consumer ${this.consumer} says it has read up to ${this.cursor}, but the stream's last id is ${this.head}: ` +
      "a typing error, or the database was restored from an older copy"
  }
}

/**
 * The caller's cursor belongs to another generation of the stream: the database was put back in time or replaced.
 *
 * @since 0.1.0
 * @category errors
 */
export class StreamChanged extends Schema.TaggedError<StreamChanged>()("StreamChanged", {
  ours: Schema.Number,
  theirs: Schema.Number
}) {
  override get message() {
    return `The cursor is of generation ${this.theirs}, the stream is at generation ${this.ours}: ids of the two do not compare`
  }
}

/**
 * Another receiver has the consumer: one at a time is active (DESIGN 4, fencing). `owner` is the token of its lease, which
 * ends in `expiresIn` milliseconds unless it is renewed.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConsumerBusy extends Schema.TaggedError<ConsumerBusy>()("ConsumerBusy", {
  consumer: Schema.String,
  owner: Schema.String,
  expiresIn: Schema.Number
}) {
  override get message(): string {
    return `${this.consumer} has an active receiver already (lease ${this.owner}, ${this.expiresIn} ms left). ` +
      `Wait for it ({ whenBusy: "wait" }) or take its place ({ whenBusy: "takeOver" })`
  }
}

/**
 * The consumer was registered as exclusive: only a receiver that holds its lease (`Pusher`) may move its cursor, so it
 * cannot be polled.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConsumerExclusive extends Schema.TaggedError<ConsumerExclusive>()("ConsumerExclusive", {
  consumer: Schema.String
}) {
  override get message(): string {
    return `${this.consumer} is registered as exclusive, or has partitions: receive its events with Pusher.run`
  }
}

/**
 * This receiver has lost its consumer: its lease ran out, or another one took over. What it acknowledges now is refused;
 * what it had not acknowledged is delivered to the other one.
 *
 * @since 0.1.0
 * @category errors
 */
export class ConsumerFenced extends Schema.TaggedError<ConsumerFenced>()("ConsumerFenced", {
  consumer: Schema.String,
  epoch: Schema.String
}) {
  override get message(): string {
    return `${this.consumer}: the lease of epoch ${this.epoch} is lost, another receiver may be active`
  }
}

/**
 * A handler has failed on an event more often than its retry schedule allows, and the policy is to stop. The cursor is
 * before that event: it is delivered again to who runs next.
 *
 * @since 0.1.0
 * @category errors
 */
export class HandlerFailed extends Schema.TaggedError<HandlerFailed>()("HandlerFailed", {
  consumer: Schema.String,
  id: Id,
  type: Schema.String,
  attempts: Schema.Int,
  cause: Schema.Defect
}) {
  override get message(): string {
    return `${this.consumer}: the handler failed ${this.attempts} times on event ${this.id} (${this.type})`
  }
}

/**
 * Events after the given position are no longer in the log: everybody who was registered had them, and they were
 * discarded. They may be in the history.
 *
 * @since 0.1.0
 * @category errors
 */
export class EventsDiscarded extends Schema.TaggedError<EventsDiscarded>()("EventsDiscarded", {
  consumer: Schema.String,
  after: Id,
  /** The last id that was discarded. */
  discardedTo: Id
}) {
  override get message(): string {
    return `${this.consumer} cannot start after event ${this.after}: events up to ${this.discardedTo} were discarded`
  }
}

/**
 * The history and the stream do not fit: it is another stream's, it has lost events, or an event in it differs. Nothing
 * more is archived, and nothing more is discarded, until a person has looked at it.
 *
 * @since 0.1.0
 * @category errors
 */
export class HistoryMismatch extends Schema.TaggedError<HistoryMismatch>()("HistoryMismatch", {
  /** `stream`: of another stream. `ahead`: it holds ids that the stream never gave. `lost`: archived events are gone. `differs`: count, lengths or hashes differ. */
  kind: Schema.Literal("stream", "ahead", "lost", "differs"),
  generation: Schema.Int,
  /** Events after this id … */
  after: Id,
  /** … up to this one. */
  upTo: Id,
  /** What was found and what to do, as sentences. */
  detail: Schema.String
}) {
  override get message(): string {
    return `The history does not fit the stream (${this.kind}, events after ${this.after} up to ${this.upTo} of generation ${this.generation}): ${this.detail}`
  }
}

/**
 * The tables of the stream are missing, older or newer than this version of the library works with.
 *
 * @since 0.1.0
 * @category errors
 */
export class SchemaMismatch extends Schema.TaggedError<SchemaMismatch>()("SchemaMismatch", {
  prefix: Schema.String,
  found: Schema.NullOr(Schema.Number),
  expected: Schema.Number,
  hint: Schema.String
}) {
  override get message() {
    const found = this.found === null ? "no tables" : `schema version ${this.found}`
    return `Stream "${this.prefix}": found ${found}, need version ${this.expected}. ${this.hint}`
  }
}

/**
 * The database is of a kind or version that the library does not work with.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnsupportedDatabase extends Schema.TaggedError<UnsupportedDatabase>()("UnsupportedDatabase", {
  found: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.found} is not supported, need ${this.expected}`
  }
}

/**
 * A server over the network does not know who asks: no credentials, or wrong ones. It does not say which.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {
  /** What is missing or wrong, as a sentence for the caller. */
  reason: Schema.String
}) {
  override get message(): string {
    return `Not authorized: ${this.reason}`
  }
}

/**
 * Who asks is known, and may not do that.
 *
 * @since 0.1.0
 * @category errors
 */
export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", {
  user: Schema.String,
  /** The right that is missing: `emit`, `emit TYPE`, `poll`, `push`, `administer`. */
  needs: Schema.String
}) {
  override get message(): string {
    return `${this.user} may not do this: it needs the right to ${this.needs}`
  }
}

/**
 * A server over the network is asked for more at a time than it gives: by this connection, this user or everybody. The
 * same call may succeed later.
 *
 * @since 0.1.0
 * @category errors
 */
export class LimitExceeded extends Schema.TaggedError<LimitExceeded>()("LimitExceeded", {
  /** Name of the limit, as in the server's options. */
  limit: Schema.String,
  most: Schema.Number
}) {
  override get message(): string {
    return `Too much at a time: ${this.limit} is at most ${this.most}`
  }
}

/**
 * The database failed or refused. `retryable`: the same call may succeed later without any change.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  operation: Schema.String,
  retryable: Schema.Boolean,
  reason: StoreReason,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message() {
    return `${this.operation}: the database failed (${this.reason}${this.retryable ? ", may be retried" : ""})${
      causeText(this.cause)
    }`
  }
}

const causeText = (cause: unknown): string => {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause
  return inner instanceof Error ? `: ${inner.message}` : ""
}

/**
 * Whether the same call may succeed when it is made again unchanged: retryable errors of this library, and `SqlError`s
 * that mean a lost connection, a deadlock, a serialization failure or a busy file.
 *
 * @since 0.1.0
 * @category classification
 */
export const isRetryable = (error: unknown): boolean => {
  if (typeof error !== "object" || error === null || !("_tag" in error)) return false
  if (error._tag === "StoreError" || error._tag === "TransactionFailed") return (error as StoreError).retryable
  return error._tag === "SqlError" && classify(error).retryable
}

/**
 * What a cause says about the database, for programs that use the bare `sql.withTransaction`: there a failed COMMIT or
 * ROLLBACK is a defect, and hides the error before it. None if no `SqlError` is in it.
 *
 * @since 0.1.0
 * @category classification
 */
export const fromCause = (cause: Cause.Cause<unknown>, operation = "transaction"): Option.Option<StoreError> =>
  Option.map(sqlErrorOf(cause), (error) => new StoreError({ operation, ...classify(error), cause: error }))
