/**
 * Administration of registered consumers: where they are, moving and pausing them, what becomes of the events that they
 * gave up, and erasing what is personal. Everything that it does is recorded in the table `audit`, with the `Actor`.
 *
 * What changes a consumer takes its lease away and raises its epoch: a receiver at work cannot commit on what it knew
 * before. It notices at its next commit, an idle one when it renews its lease (a third of its ttl), and starts again.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Consumer } from "../Consumer.js"
import type { Wanted } from "../Event.js"
import type { EventId, Input } from "../EventId.js"
import type {
  CursorAhead,
  EventsDiscarded,
  InsideTransaction,
  InvalidConsumer,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  StoreError
} from "../EventStreamError.js"
import type { Catalog, EventType } from "../EventType.js"
import type { From } from "./Poller.js"

/**
 * @since 0.1.0
 * @category errors
 */
export type ConsumerError = InvalidConsumer | LiveNotAllowed | InsideTransaction | StoreError

/**
 * Who does what is recorded: at most 255 characters. Default: `local`.
 *
 * @since 0.1.0
 * @category references
 */
export class Actor extends Context.Reference<Actor>()("effect-eventstream/Actor", {
  defaultValue: (): string => "local"
}) {}

/**
 * A registered consumer as it is now, by one statement.
 *
 * @since 0.1.0
 * @category models
 */
export interface Info {
  /** `user:component`. */
  readonly consumer: string
  readonly user: string
  readonly component: string
  /** The last id that it has acknowledged, or that it started after; undefined: it has the whole stream before it. */
  readonly cursor: EventId | undefined
  readonly lag: {
    /** Ids between its cursor and the end of the log. */
    readonly events: number
    /** Age of the first event that it has not acknowledged, in seconds by the database's clock; 0 without one. */
    readonly seconds: number
  }
  /** `active`: a receiver holds the lease. `idle`: nobody does (it may be polling). `paused`: nobody may. */
  readonly state: "active" | "idle" | "paused"
  /** Why it is paused. */
  readonly paused: string | undefined
  /** The token of the active receiver's lease, and for how many milliseconds it lasts unless it is renewed. */
  readonly lease: { readonly owner: string; readonly expiresIn: number } | undefined
  /**
   * By number, of a consumer that is shared by a group (`Pusher.run` with partitions); undefined: it has none. `cursor` is the
   * smallest of theirs.
   */
  readonly partitions: ReadonlyArray<PartitionInfo> | undefined
  /** Whether only a receiver with the lease may move its cursor. */
  readonly exclusive: boolean
  readonly deadLetters: number
  /** How many of them are parked. */
  readonly parked: number
  readonly registeredAt: Date
  /** When its cursor was moved last. */
  readonly movedAt: Date
}

/**
 * A partition of a consumer as it is now.
 *
 * @since 0.1.0
 * @category models
 */
export interface PartitionInfo {
  readonly number: number
  readonly cursor: EventId | undefined
  /** As that of the consumer: ids count, of whatever partition the events are. */
  readonly lag: Info["lag"]
  /** The member of the group that has it, and for how many milliseconds unless it renews its lease; undefined: nobody. */
  readonly owner: { readonly member: string; readonly expiresIn: number } | undefined
}

/**
 * What was done, by whom and when.
 *
 * @since 0.1.0
 * @category models
 */
export interface AuditEntry {
  readonly id: bigint
  readonly at: Date
  readonly actor: string
  /** `pause`, `resume`, `reset`, `remove`, `redrive`, `drop`, `redact`, `evict`, `repartition` or `restored`. */
  readonly action: string
  readonly consumer: string | undefined
  readonly detail: unknown
}

/**
 * How many events were erased where.
 *
 * @since 0.1.0
 * @category models
 */
export interface Redacted {
  readonly log: number
  /** Undefined where the layer has no history. */
  readonly history: number | undefined
  readonly deadLetters: number
}

/**
 * An event that a consumer gave up, as a whole: it stays here when it leaves the log.
 *
 * @since 0.1.0
 * @category models
 */
export interface DeadLetter<out E> {
  readonly event: E
  /** What the handler failed with, at most 10 000 characters. */
  readonly error: string
  /** How often the handler was called; 0 for what could not be decoded, or was parked behind another event of its key. */
  readonly attempts: number
  /** Whether later events of its key are kept back until it is redriven or dropped (policy `parkKey`). */
  readonly parked: boolean
  /** Marked to be delivered again, and not yet handled. */
  readonly redriving: boolean
  /** When it was given up last, on the database's clock. */
  readonly failedAt: Date
}

/**
 * Which dead letters: all of the consumer, those of an event key, or those of the given events, 10 000 at most.
 *
 * @since 0.1.0
 * @category models
 */
export type Which = "all" | { readonly key: string } | { readonly ids: ReadonlyArray<Input> }

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** All registered consumers, by name. */
  readonly list: Effect.Effect<ReadonlyArray<Info>, InsideTransaction | StoreError>
  /**
   * Moves the cursor, forward or back, and answers with it: what is between is delivered again, or never. A receiver at
   * work is fenced out and starts again from there. An archiver is moved back only: what it skips would count as archived.
   */
  readonly reset: (
    consumer: Consumer,
    to: From
  ) => Effect.Effect<
    EventId | undefined,
    ConsumerError | InvalidOption | NotRegistered | CursorAhead | EventsDiscarded
  >
  /**
   * Divides a consumer anew, into 2 to 256 partitions (`Pusher.run` with partitions), or 1 or `none`: an ordinary consumer.
   * Whoever works on the old ones is fenced out, the new ones start at the smallest cursor of the old ones, which is the
   * answer: what is after it may have been handled and is delivered again, in order by key, also with `exactlyOnce`. Where
   * nothing is to be repeated, wait until the lag is 0. Runs at work go on with the new number by themselves.
   */
  readonly repartition: (
    consumer: Consumer,
    partitions: number | "none"
  ) => Effect.Effect<EventId | undefined, ConsumerError | InvalidOption | NotRegistered>
  /**
   * Removes a registration: nothing waits for this consumer any more. Its dead letters stay, unless they are dropped.
   */
  readonly remove: (
    consumer: Consumer,
    options?: { readonly deadLetters?: "keep" | "drop" | undefined }
  ) => Effect.Effect<void, ConsumerError | NotRegistered>
  /**
   * Erases what may be personal in events, for good: data, key, dedupe key and meta in the log and in the history, and their
   * dead letters as a whole. The events keep id, uid, type and time; readers get them as `Undecodable` with `redacted`, and
   * `Pusher.run` passes over them. What a process has read before is in its memory. May be repeated, and should be when it
   * failed half way.
   */
  readonly redact: (
    which: { readonly ids: ReadonlyArray<Input> } | { readonly key: string }
  ) => Effect.Effect<Redacted, InvalidOption | InsideTransaction | StoreError>
  /** What was done, the newest first. */
  readonly audit: (
    options?: {
      readonly consumer?: Consumer | undefined
      /** Only what was done before that: the last `id` of the page before. */
      readonly before?: bigint | undefined
      /** How many at most, 1 to 1000. Default 100. */
      readonly limit?: number | undefined
    }
  ) => Effect.Effect<ReadonlyArray<AuditEntry>, InvalidConsumer | InvalidOption | InsideTransaction | StoreError>
  /**
   * Nobody receives the events of a consumer until it is resumed: a receiver at work is fenced out, `Pusher` waits, polls
   * are empty. Its cursor keeps its place, and the events that it has not acknowledged are kept.
   */
  readonly pause: (
    consumer: Consumer,
    /** Kept with the consumer. Default: "paused". */
    why?: string
  ) => Effect.Effect<void, ConsumerError | InvalidOption | NotRegistered>
  /** Ends a pause. Nothing happens if there is none. */
  readonly resume: (consumer: Consumer) => Effect.Effect<void, ConsumerError | NotRegistered>
  /** The dead letters of a consumer, by event id. They outlive its registration. */
  readonly deadLetters: <C extends EventType.Any = never>(
    consumer: Consumer,
    options?: {
      /** Declarations to decode with; other types come as `Unknown`. */
      readonly catalog?: Catalog<C> | undefined
      /** Only those of this event key. */
      readonly key?: string | undefined
      /** Only those with a greater event id: the last one of the page before. */
      readonly after?: Input | undefined
      /** How many at most, 1 to 1000. Default 100. */
      readonly limit?: number | undefined
    }
  ) => Effect.Effect<ReadonlyArray<DeadLetter<Wanted<undefined, C>>>, ConsumerError | InvalidOption>
  /**
   * Has dead letters delivered again by the receiver that is at work, or the next one: by id, before anything newer, a
   * parked one with all of its key. One that is handled is deleted; one that fails again stays, and so do the parked ones
   * that follow it. How many are to be delivered now.
   */
  readonly redrive: (
    consumer: Consumer,
    /** Default: "all". */
    which?: Which
  ) => Effect.Effect<number, ConsumerError | InvalidOption | NotRegistered>
  /**
   * Deletes dead letters for good; how many. When the last parked one of a key is gone, later events of that key flow
   * again.
   */
  readonly drop: (consumer: Consumer, which: Which) => Effect.Effect<number, ConsumerError | InvalidOption>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Consumers extends Context.Tag("effect-eventstream/Consumers")<Consumers, Service>() {}
