/**
 * Keeping the active area small (FTN18 2.3): deletes what everybody has. In the original: DBEventDiscarder.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type { EventId } from "../EventId.js"
import type { InsideTransaction, InvalidOption, StoreError } from "../EventStreamError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many events one transaction deletes at most, 1 to 100 000. Default 1000. */
  readonly limitAtOnce?: number | undefined
  /** When `run` looks again after it has deleted what it may. Default: every 10 minutes. */
  readonly schedule?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * What is kept although everybody has it: events that are younger, and the newest so many. Default: one minute. Less than
   * that is for tests: an `add` whose answer was lost looks for its event in the log.
   */
  readonly retain?: {
    readonly for?: Duration.DurationInput | undefined
    readonly events?: number | undefined
  } | undefined
  /** Whether only what is in the history may be deleted. `auto` (default): if an archiver has ever registered, or the layer has a history. */
  readonly requireArchived?: "auto" | "always" | "never" | undefined
  /**
   * What becomes of a consumer that does not read any more: `warn` (default) says it; with `evictAfter` one that has not
   * moved its cursor for so long, although events of that age wait for it, is unregistered and that is recorded (table
   * `audit`). The archiver never is.
   */
  readonly stale?: "warn" | { readonly evictAfter: Duration.DurationInput } | undefined
}

/**
 * What keeps events from being discarded: the consumer that is furthest behind, events that are not archived yet, or what
 * is retained.
 *
 * @since 0.1.0
 * @category models
 */
export type HeldBack =
  /** `since`: when it moved its cursor last. */
  | { readonly _tag: "Consumer"; readonly consumer: string; readonly cursor: bigint; readonly since: Date }
  | { readonly _tag: "Archive"; readonly archivedTo: bigint }
  | { readonly _tag: "Retained" }
  /** Nobody is registered, and nothing says how long to keep events: they are kept. */
  | { readonly _tag: "Nobody" }

/**
 * @since 0.1.0
 * @category models
 */
export interface Report {
  /** How many events this call has deleted. */
  readonly deleted: number
  /** The last id ever discarded; undefined if none was. */
  readonly discardedTo: EventId | undefined
  /** How many ids there are from there to the end of the log. */
  readonly left: number
  /** What holds back the first event that is left; empty if none is. */
  readonly heldBack: ReadonlyArray<HeldBack>
  /** Consumers that were unregistered. */
  readonly evicted: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Deletes, in bounded batches, what may be deleted now. */
  readonly once: (options?: Options) => Effect.Effect<Report, InvalidOption | InsideTransaction | StoreError>
  /** Does that by its schedule until it is interrupted; survives the failures of the database, and says who holds it back. */
  readonly run: (options?: Options) => Effect.Effect<never, InvalidOption | InsideTransaction>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Discarder extends Context.Tag("effect-eventstream/Discarder")<Discarder, Service>() {}
