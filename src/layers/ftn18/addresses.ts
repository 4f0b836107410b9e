/**
 * What one address may take of the server at a time, whoever it says it is.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { LimitExceeded } from "../../EventStreamError.js"
import * as Limits from "../network/limits.js"

export interface Addresses {
  /** Takes `n` places for as long as the scope. */
  readonly take: (address: string, n?: number) => Effect.Effect<void, LimitExceeded, Scope.Scope>
}

export const make = (limit: string, most: number): Addresses => {
  const taken = new Map<string, number>()
  const add = (address: string, n: number) => {
    const now = (taken.get(address) ?? 0) + n
    if (now === 0) taken.delete(address)
    else taken.set(address, now)
  }
  return {
    take: (address, n = 1) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          if ((taken.get(address) ?? 0) + n > most) {
            return Effect.zipRight(Limits.refused("ftn18", limit), Effect.fail(new LimitExceeded({ limit, most })))
          }
          add(address, n)
          return Effect.void
        }),
        () => Effect.sync(() => add(address, -n))
      )
  }
}
