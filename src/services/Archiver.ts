/**
 * Moving events to the history (FTN18 2.3): the reliable consumer `ARCHIVER`. In the original: DBEventArchiver.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import type { EventId } from "../EventId.js"
import type {
  CursorAhead,
  EventsDiscarded,
  HistoryMismatch,
  InsideTransaction,
  InvalidConsumer,
  InvalidOption,
  LiveNotAllowed,
  NotRegistered,
  StoreError
} from "../EventStreamError.js"

/**
 * The component under which archiving is registered. Registering it once means that from then on nothing is discarded
 * that is not archived.
 *
 * @since 0.1.0
 * @category constants
 */
export const component = "ARCHIVER"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** How many events are written at once, 1 to 1000. Default 1000, by measurement (bench/README.md). */
  readonly limit?: number | undefined
  /** The pauses between attempts while one of the databases fails. Default: 50 ms doubling to 5 s, with jitter, for ever. */
  readonly retry?: Schedule.Schedule<unknown, StoreError> | undefined
}

/**
 * How far archiving is.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  /** Events that this run has archived. */
  readonly archived: number
  /** The last id in the history; undefined before the first event. */
  readonly upTo: EventId | undefined
  /** Ids between that and the end of the log. */
  readonly behind: number
  /** Events a second, over the last seconds. */
  readonly rate: number
  /** Milliseconds until it has caught up at this rate; undefined while that cannot be said. */
  readonly remaining: number | undefined
}

/**
 * @since 0.1.0
 * @category errors
 */
export type ArchiveError =
  | HistoryMismatch
  | InvalidConsumer
  | InvalidOption
  | LiveNotAllowed
  | NotRegistered
  | CursorAhead
  | EventsDiscarded
  | InsideTransaction
  | StoreError

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Archives until it is interrupted: registers `ARCHIVER` if it is not yet, continues with what the history does not
   * hold, writes each batch once and checks it (count, lengths and hashes on both sides), then moves the cursor. One runs
   * at a time, in all processes; others stand by. Ends with `HistoryMismatch` when the two do not fit. Interrupted, the
   * batch in hand is finished or not begun.
   */
  readonly run: (options?: Options) => Effect.Effect<never, ArchiveError>
  /** The same as a stream of what it has done, one element for each batch. */
  readonly progress: (options?: Options) => Stream.Stream<Progress, ArchiveError>
  /** Archives what is in the log now, and ends. */
  readonly once: (options?: Options) => Effect.Effect<Progress, ArchiveError>
  /** Compares every event of the log with the history, as a whole and byte for byte; how many were compared. */
  readonly verify: Effect.Effect<number, HistoryMismatch | InsideTransaction | StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Archiver extends Context.Tag("effect-eventstream/Archiver")<Archiver, Service>() {}
