/**
 * Reading the history: all events that were archived, for all time (FTN18 2.3.1).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Want, Wanted } from "../Event.js"
import type { Input } from "../EventId.js"
import type { InvalidOption, StoreError } from "../EventStreamError.js"
import type { Catalog, EventType } from "../EventType.js"
import type { Position } from "./HistoryStore.js"

/**
 * Which events: all that is said holds. Without anything, the whole history.
 *
 * @since 0.1.0
 * @category models
 */
export interface Query<W extends Want | undefined, C extends EventType.Any> {
  /** Types to read, as declarations or names. Left out: all. */
  readonly want?: W | undefined
  /** Declarations to decode with where `want` is left out. */
  readonly catalog?: Catalog<C> | undefined
  /** Only events of this key. */
  readonly key?: string | undefined
  /** Only events after this id. */
  readonly after?: Input | undefined
  /** Only events up to this id, included. */
  readonly upTo?: Input | undefined
  /** Only this generation. Left out: all, the oldest first. */
  readonly generation?: number | undefined
  /** Only events whose `ts` is not before this time. */
  readonly since?: Date | undefined
  /** Only events whose `ts` is before this time. */
  readonly until?: Date | undefined
  /** How many rows are read at once, 1 to 1000. Default 1000. */
  readonly page?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The last archived event; undefined while there is none. */
  readonly last: Effect.Effect<Position | undefined, StoreError>
  /** The events that fit, in order of generation and id, in pages. */
  readonly query: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    query?: Query<W, C>
  ) => Stream.Stream<Wanted<W, C>, InvalidOption | StoreError>
  /**
   * The same as NDJSON: one JSON object a line, with its line feed, as `Event.toJSON` gives it, with `generation`. `data` is
   * the emitted text itself, byte for byte (line breaks that other writers put between its tokens become spaces).
   */
  readonly ndjson: <const W extends Want | undefined = undefined, C extends EventType.Any = never>(
    query?: Query<W, C>
  ) => Stream.Stream<string, InvalidOption | StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class History extends Context.Tag("effect-eventstream/History")<History, Service>() {}
