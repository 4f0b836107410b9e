/**
 * A batch exactly once: handler and cursor in one transaction. The transaction of an event that was given up is rolled back;
 * what goes before it commits on its own, then the decision about it, then the rest.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Metrics from "../../internal/metrics.js"
import type { Service as EventStore } from "../../services/EventStore.js"
import type { Subscription } from "../Pusher.js"
import { attempt, callsOf, GaveUp, itemsOf } from "./attempts.js"
import { committing } from "./committing.js"
import * as Parking from "./parked.js"
import type { Settings } from "./settings.js"

export const exactlyOnce = <R>(
  store: EventStore,
  settings: Settings<R>,
  subscription: Subscription,
  events: ReadonlyArray<any>,
  upTo: bigint,
  parked: Parking.Parked
): Effect.Effect<void, any, R> =>
  Effect.gen(function*() {
    const { ident } = subscription
    const items = itemsOf(events)
    let start = 0
    let end = events.length
    /** A batch handler failed on many: one at a time from here, to find out which. */
    let single = false
    let failing = -1
    let made = 0
    let doomed: GaveUp | undefined
    const driver = yield* Schedule.driver(settings.retry)
    const goOn = (from: number) => {
      start = from
      end = single ? from + 1 : events.length
      made = 0
      failing = -1
    }
    while (start < events.length) {
      const event = events[start]
      if (doomed?.call[0]!.index === start) {
        if (settings.poison === "stop" || settings.poison === "pause") {
          return yield* Parking.giveIn(settings, subscription, doomed)
        }
        const letters = settings.poison === "skip" ? [] : [Parking.letterOf(settings, doomed)]
        if (letters[0]?.parked === true && parked.size() >= settings.maxParked) {
          return yield* Parking.pause(subscription, event, Parking.tooMany(settings))
        }
        yield* Parking.said(settings, ident, doomed)
        yield* subscription.step(start === events.length - 1 ? upTo : event.id, letters)
        if (settings.poison === "parkKey") parked.add(event)
        parked.count(letters)
        yield* Metrics.deadLettered(ident, letters.length)
        doomed = undefined
        goOn(start + 1)
        continue
      }
      const part = items.slice(start, end)
      const letters = part.flatMap(({ event }) => parked.has(event) ? [Parking.follower(event)] : [])
      if (letters.length > 0 && parked.size() + letters.length > settings.maxParked) {
        if (part.length === 1) return yield* Parking.pause(subscription, event, Parking.tooMany(settings))
        // one at a time up to the first that has no room
        single = true
        goOn(start)
        continue
      }
      const calls = callsOf(settings, part.filter(({ event }) => !parked.has(event)))
      const exit = yield* Effect.exit(committing(
        store,
        settings,
        ident,
        Effect.zipRight(
          Effect.forEach(calls, (call) => attempt(settings, call), { discard: true }),
          subscription.stepWithin(end === events.length ? upTo : events[end - 1].id, letters)
        )
      ))
      if (Exit.isSuccess(exit)) {
        parked.count(letters)
        yield* Metrics.deadLettered(ident, letters.length)
        yield* Metrics.delivered(ident, part.length - letters.length)
        goOn(end)
        continue
      }
      const failure = Cause.failureOption(exit.cause)
      if (failure._tag === "None" || !(failure.value instanceof GaveUp)) return yield* Effect.failCause(exit.cause)
      const { attempts, call, cause } = failure.value
      const { index } = call[0]!
      if (index !== failing) {
        failing = index
        made = 0
        yield* driver.reset
      }
      made++
      if (attempts > 0 && Exit.isSuccess(yield* Effect.exit(driver.next(cause)))) {
        yield* Metrics.retried(ident)
        continue
      }
      yield* driver.reset
      if (call.length > 1) {
        single = true
        goOn(start)
        continue
      }
      doomed = new GaveUp(call, attempts === 0 ? 0 : made, cause)
      // first what goes before it
      end = index
    }
  })
