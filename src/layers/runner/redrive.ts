/**
 * Dead letters that are to be delivered again: one by one, by id, before anything newer.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Metrics from "../../internal/metrics.js"
import type { Letter, Service as EventStore } from "../../services/EventStore.js"
import type { Subscription } from "../Pusher.js"
import { attempt, attempts, type Call, errorText, GaveUp } from "./attempts.js"
import { committing } from "./committing.js"
import type { Settings } from "./settings.js"

/** The handler first, then the end of the letter. */
const apart = <R>(
  settings: Settings<R>,
  subscription: Subscription,
  letter: Letter,
  call: Call
): Effect.Effect<void, any, R> =>
  Effect.zipRight(attempts(settings, call, subscription.ident), subscription.settle(letter, undefined))

/** Both in one transaction. */
const together = <R>(
  store: EventStore,
  settings: Settings<R>,
  subscription: Subscription,
  letter: Letter,
  call: Call
): Effect.Effect<void, any, R> =>
  Effect.gen(function*() {
    const driver = yield* Schedule.driver(settings.retry)
    let made = 0
    while (true) {
      const exit = yield* Effect.exit(
        committing(
          store,
          settings,
          subscription.ident,
          Effect.zipRight(attempt(settings, call), subscription.settleWithin(letter))
        )
      )
      if (Exit.isSuccess(exit)) return
      const failure = Cause.failureOption(exit.cause)
      if (failure._tag === "None" || !(failure.value instanceof GaveUp)) return yield* Effect.failCause(exit.cause)
      const gaveUp = failure.value
      made += gaveUp.attempts
      if (gaveUp.attempts === 0 || Exit.isFailure(yield* Effect.exit(driver.next(gaveUp.cause)))) {
        return yield* Effect.fail(new GaveUp(call, made, gaveUp.cause))
      }
      yield* Metrics.retried(subscription.ident)
    }
  })

/** It may have been kept when the consumer wanted other types: its handler does not know this one. */
const unwanted = (call: Call) => new GaveUp(call, 0, Cause.fail(new Error("the consumer does not want its type")))

export const redrive = <R>(
  store: EventStore,
  settings: Settings<R>,
  subscription: Subscription
): Effect.Effect<void, any, R> =>
  Effect.gen(function*() {
    while (true) {
      const letters = yield* subscription.redriven
      if (letters.length === 0) return
      /** Keys of which an event has failed again: what follows it stays parked. */
      const failedKeys = new Set<string>()
      for (const letter of letters) {
        const { key } = letter.row
        if (letter.parked && key !== null && failedKeys.has(key)) continue
        if (settings.exactlyOnce && !store.sequenced) yield* subscription.checkLease
        const event = subscription.decodeLetter(letter)
        const call: Call = [{ index: 0, event }]
        const handled = !subscription.wants(letter)
          ? Effect.fail(unwanted(call))
          : settings.exactlyOnce
          ? together(store, settings, subscription, letter, call)
          : apart(settings, subscription, letter, call)
        const outcome = yield* Effect.either(Metrics.processing(subscription.ident, [event])(handled))
        if (outcome._tag === "Right") {
          yield* Metrics.delivered(subscription.ident, 1)
          continue
        }
        const gaveUp = outcome.left
        if (!(gaveUp instanceof GaveUp)) return yield* Effect.fail(gaveUp)
        yield* Effect.logWarning(
          `${subscription.ident}: event ${event.id} (${event.type}) was redriven and failed again`,
          gaveUp.cause
        )
        if (key !== null) failedKeys.add(key)
        yield* subscription.settle(letter, { error: errorText(gaveUp.cause), attempts: gaveUp.attempts })
      }
    }
  })
