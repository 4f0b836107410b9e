/**
 * The port to the history, usually in another database: all events for all time. Its adapter is
 * `layers/sql/history/store.ts`.
 *
 * An event is known there by (generation, id): ids of two generations may be the same number.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { StoredEvent } from "../Event.js"
import type { StoreError } from "../EventStreamError.js"

/**
 * A place in the history, in its order.
 *
 * @since 0.1.0
 * @category models
 */
export interface Position {
  readonly generation: number
  readonly id: bigint
}

/**
 * An event of the history.
 *
 * @since 0.1.0
 * @category models
 */
export interface ArchivedEvent extends StoredEvent {
  readonly generation: number
}

/**
 * What is compared of a range of events, computed in SQL on either side. Bytes are of type, key, meta and data in UTF-8;
 * `hashes` is the sum of the key hashes, which events without a key take from their uid. `redacted` is counted apart: what
 * is left of an erased event may happen to be as long as the event was.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sums {
  readonly count: number
  readonly bytes: bigint
  readonly hashes: bigint
  readonly redacted: number
}

/**
 * Events with `from <= id <= to` of one generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Range {
  readonly generation: number
  readonly from: bigint
  readonly to: bigint
}

/**
 * Whose history it is. Events up to the id `since` are not expected in it: they had left the log when archiving began.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  readonly stream: string
  readonly since: bigint
}

/**
 * Which events to read: all conditions hold. Times are milliseconds since 1970, `since` included, `until` not. `afterId`
 * (not included) and `upToId` (included) hold in every generation.
 *
 * @since 0.1.0
 * @category models
 */
export interface Query {
  readonly types?: ReadonlyArray<string> | undefined
  readonly key?: string | undefined
  readonly since?: number | undefined
  readonly until?: number | undefined
  readonly afterId?: bigint | undefined
  readonly upToId?: bigint | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Whose history this is. One of nobody becomes that of `stream`; with an empty one of `stream`, `since` is moved forward.
   */
  readonly claim: (claim: Claimed) => Effect.Effect<Claimed, StoreError>
  /** The last event of a generation; of the last generation if none is named. */
  readonly last: (generation?: number) => Effect.Effect<Position | undefined, StoreError>
  /**
   * Writes events that are not there yet and says what the range then holds. Sent again it changes nothing. One
   * transaction; for more than 4 MiB several, in the order of the events.
   */
  readonly append: (events: ReadonlyArray<ArchivedEvent>, range: Range) => Effect.Effect<Sums, StoreError>
  readonly sums: (range: Range) => Effect.Effect<Sums, StoreError>
  /** Where events that fit `since` and `until` begin and end; undefined if there are none. */
  readonly bounds: (
    query: Pick<Query, "since" | "until">
  ) => Effect.Effect<{ readonly first: Position; readonly last: Position } | undefined, StoreError>
  /** Events after a position and up to another, in order. */
  readonly page: (
    options: Query & {
      readonly after: Position
      readonly upTo: Position | undefined
      readonly limit: number
    }
  ) => Effect.Effect<ReadonlyArray<ArchivedEvent>, StoreError>
  /** Erases what is personal in events: data and meta are replaced, key and dedupe key removed. How many it found. */
  readonly redact: (which: Redaction) => Effect.Effect<number, StoreError>
}

/**
 * Which events are erased.
 *
 * @since 0.1.0
 * @category models
 */
export type Redaction = { readonly ids: ReadonlyArray<bigint> } | { readonly key: string }

/**
 * @since 0.1.0
 * @category tags
 */
export class HistoryStore extends Context.Tag("effect-eventstream/HistoryStore")<HistoryStore, Service>() {}
