/**
 * What becomes of events that are given up: dead letters, the keys that are parked by them, and pauses.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { HandlerFailed } from "../../EventStreamError.js"
import type { DeadLetter } from "../../services/EventStore.js"
import type { AckError } from "../../services/Pusher.js"
import type { Subscription } from "../Pusher.js"
import { errorText, type GaveUp } from "./attempts.js"
import type { Settings } from "./settings.js"

/** The keys whose events are parked for now, and how many events are. What is not keyed parks nothing. */
export interface Parked {
  readonly has: (event: { readonly key: string | null }) => boolean
  readonly add: (event: { readonly key: string | null }) => void
  readonly size: () => number
  /** Has been stored. */
  readonly count: (letters: ReadonlyArray<DeadLetter>) => void
}

export const make = (stored: ReadonlyMap<string, number>): Parked => {
  const keys = new Set(stored.keys())
  let size = [...stored.values()].reduce((sum, n) => sum + n, 0)
  return {
    has: ({ key }) => key !== null && keys.has(key),
    add: ({ key }) => {
      if (key !== null) keys.add(key)
    },
    size: () => size,
    count: (letters) => {
      for (const letter of letters) if (letter.parked) size++
    }
  }
}

export const letterOf = <R>({ poison }: Settings<R>, { attempts, call, cause }: GaveUp): DeadLetter => {
  const { event } = call[0]!
  return { row: event.row, error: errorText(cause), attempts, parked: poison === "parkKey" && event.key !== null }
}

/** An event behind a parked one of its key. */
export const follower = (event: any): DeadLetter => ({
  row: event.row,
  error: "an earlier event of its key is parked",
  attempts: 0,
  parked: true
})

/** The consumer was paused by what a handler failed on: stands by until it is resumed. */
export class Paused {
  readonly _tag = "Paused"
}

/** Stops delivery to everybody until somebody has looked at it. */
export const pause = (subscription: Subscription, event: any, why: string): Effect.Effect<never, Paused | AckError> =>
  subscription.pause(`event ${event.id} (${event.type}): ${why}`).pipe(
    Effect.zipRight(Effect.logWarning(`${subscription.ident}: paused before event ${event.id} (${event.type})`)),
    Effect.zipRight(Effect.fail(new Paused()))
  )

export const tooMany = <R>({ maxParked }: Settings<R>): string => `more than ${maxParked} events are parked`

export const failed = (ident: string, { attempts, call, cause }: GaveUp): HandlerFailed => {
  const { event } = call[0]!
  return new HandlerFailed({ consumer: ident, id: event.id, type: event.type, attempts, cause: Cause.squash(cause) })
}

/** Ends a run, or pauses it, for an event that it must not pass. */
export const giveIn = <R>(
  settings: Settings<R>,
  subscription: Subscription,
  gaveUp: GaveUp
): Effect.Effect<never, Paused | AckError | HandlerFailed> =>
  settings.poison === "pause"
    ? pause(subscription, gaveUp.call[0]!.event, errorText(gaveUp.cause))
    : Effect.fail(failed(subscription.ident, gaveUp))

export const said = <R>({ poison }: Settings<R>, ident: string, { attempts, call, cause }: GaveUp) => {
  const { event } = call[0]!
  return Effect.logWarning(
    `${ident}: event ${event.id} (${event.type}) is given up after ${attempts} attempts: ${poison}`,
    cause
  )
}
