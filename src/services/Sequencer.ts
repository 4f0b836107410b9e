/**
 * Giving ids to committed events: moves them from the queue to the log in batches. Any process that emits or reads may
 * do it, as many as like; there is no leader.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { InsideTransaction, StoreError } from "../EventStreamError.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Sequences everything that is committed now: how many events this call moved. */
  readonly run: Effect.Effect<number, InsideTransaction | StoreError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Sequencer extends Context.Tag("effect-eventstream/Sequencer")<Sequencer, Service>() {}
