/**
 * What one address may take of the server at a time, whoever it says it is.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { LimitExceeded } from "../../EventStreamError.js"
import { Counts } from "../network/counts.js"
import * as Limits from "../network/limits.js"

export interface Addresses {
  /** Takes `n` places for as long as the scope. */
  readonly take: (address: string, n?: number) => Effect.Effect<void, LimitExceeded, Scope.Scope>
}

export const make = (limit: string, most: number): Addresses => {
  const taken = new Counts()
  return {
    take: (address, n = 1) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          if (taken.of(address) + n > most) {
            return Effect.zipRight(Limits.refused("ftn18", limit), Effect.fail(new LimitExceeded({ limit, most })))
          }
          taken.add(address, n)
          return Effect.void
        }),
        () => Effect.sync(() => taken.add(address, -n))
      )
  }
}
