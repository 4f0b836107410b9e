/**
 * Whether a stream works: for probes, for a person (`evt doctor`), and after a database was put back in time.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { InsideTransaction, InvalidOption, StoreError } from "../EventStreamError.js"
import type { Info } from "./Consumers.js"

/**
 * What one look at the database says.
 *
 * @since 0.1.0
 * @category models
 */
export interface Vitals {
  /** UUID of the stream. */
  readonly stream: string
  readonly database: { readonly kind: "PostgreSQL" | "MySQL" | "MariaDB" | "SQLite"; readonly version: string }
  readonly schemaVersion: number
  readonly generation: number
  /** The database's clock. */
  readonly now: Date
  /** How far this process's clock is ahead of it, in milliseconds, half the round trip taken off. */
  readonly clockSkew: number
  /** The last id given, 0 before the first. */
  readonly head: bigint
  /** The last id discarded, 0 if none was. */
  readonly discardedTo: bigint
  /** Events that are committed and have no id yet, counted up to 10 000, and since when the oldest one waits. */
  readonly unsequenced: { readonly count: number; readonly oldest: Date | undefined }
  readonly consumers: ReadonlyArray<Info>
}

/**
 * Something that a person should know. `problem`: events are not delivered, or may be lost; `warning`: look at it soon.
 *
 * @since 0.1.0
 * @category models
 */
export interface Finding {
  /** What was checked: `schema`, `sequencer`, `consumer`, `settings`, `clock`, `leases`, `history`, `restored`; `database` where it could not be asked. */
  readonly check: string
  readonly level: "ok" | "warning" | "problem"
  /** What was found, as a sentence with the figures. */
  readonly found: string
  /** What to do, as a sentence; empty where there is nothing to do. */
  readonly advice: string
}

/**
 * When a stream counts as not ready.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** How old a committed event without an id may be: nobody sequences. Default 30 seconds. */
  readonly unsequenced?: Duration.DurationInput | undefined
  /** How old the first event may be that a consumer has not acknowledged: it is stuck. Default 10 minutes. */
  readonly unacknowledged?: Duration.DurationInput | undefined
  /** Consumers that are not looked at: archives that run at night, say. Default: none. */
  readonly except?: ReadonlyArray<string> | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Succeeds if the database answers. */
  readonly live: Effect.Effect<void, InsideTransaction | StoreError>
  /** What keeps the stream from being ready: empty if it is. */
  readonly ready: (
    limits?: Limits
  ) => Effect.Effect<ReadonlyArray<Finding>, InsideTransaction | StoreError>
  readonly vitals: Effect.Effect<Vitals, InsideTransaction | StoreError>
  /** Checks everything that can be checked from outside, the good included. */
  readonly diagnose: (
    limits?: Limits
  ) => Effect.Effect<ReadonlyArray<Finding>, InsideTransaction | StoreError>
  /**
   * To be run once after the database was put back in time, before anybody emits: starts a new generation, and leaves out
   * a million ids, so that none that was given and lost is ever given again. Answers with the new generation and the last
   * id that counts as given.
   */
  readonly restored: Effect.Effect<
    { readonly generation: number; readonly head: bigint },
    InvalidOption | InsideTransaction | StoreError
  >
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Health extends Context.Tag("effect-eventstream/Health")<Health, Service>() {}
