/**
 * Administration of registered consumers: pausing them, and what becomes of the events that they gave up.
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
import type { Input } from "../EventId.js"
import type {
  InsideTransaction,
  InvalidConsumer,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  StoreError
} from "../EventStreamError.js"
import type { Catalog, EventType } from "../EventType.js"

/**
 * @since 0.1.0
 * @category errors
 */
export type ConsumerError = InvalidConsumer | LiveNotAllowed | InsideTransaction | StoreError

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
