/**
 * The managed loop of a consumer: opens it, redrives what is to be redriven, then handles batch after batch, and starts
 * again as a standby when another receiver took over, or when somebody changed the consumer.
 *
 * - `settings`: the options, checked;
 * - `attempts`: calls of the handler;
 * - `parked`: what becomes of events that are given up;
 * - `atLeastOnce`, `exactlyOnce`: a batch and its cursor;
 * - `redrive`: dead letters again.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Consumer } from "../Consumer.js"
import { ConsumerFenced, type ForeignTransaction, type HandlerFailed } from "../EventStreamError.js"
import * as Metrics from "../internal/metrics.js"
import type { Service as EventStore } from "../services/EventStore.js"
import type { Handler, RunOptions, SubscribeError, SubscribeOptions } from "../services/Pusher.js"
import type { Subscription } from "./Pusher.js"
import { atLeastOnce } from "./runner/atLeastOnce.js"
import { Reopen } from "./runner/committing.js"
import { exactlyOnce } from "./runner/exactlyOnce.js"
import * as Parking from "./runner/parked.js"
import { redrive } from "./runner/redrive.js"
import * as Settings from "./runner/settings.js"

type Open = (
  consumer: Consumer,
  options: SubscribeOptions<any, any>
) => Effect.Effect<Subscription, SubscribeError, Scope.Scope>

type WhenBusy = RunOptions<any, any>["whenBusy"]

export const run = <X, R>(
  store: EventStore,
  open: Open,
  consumer: Consumer,
  handler: Handler<any, X, R>,
  options: RunOptions<any, any> = {}
): Effect.Effect<never, Exclude<SubscribeError, ConsumerFenced> | HandlerFailed | ForeignTransaction, R> => {
  const settings = Settings.make(handler, options)

  const batch = (
    subscription: Subscription,
    next: Subscription["next"],
    parked: Parking.Parked
  ): Effect.Effect<void, any, R> =>
    Effect.gen(function*() {
      const page = yield* next
      const { events } = subscription.decode(page)
      if (events.length === 0) return yield* subscription.step(page.upTo)
      const handled = settings.exactlyOnce
        ? exactlyOnce(store, settings, subscription, events, page.upTo, parked)
        : atLeastOnce(settings, subscription, events, page.upTo, parked)
      yield* Metrics.processing(subscription.ident, events)(handled)
    })

  const session = (whenBusy: WhenBusy): Effect.Effect<never, any, R> =>
    Effect.scoped(Effect.gen(function*() {
      const subscription = yield* open(consumer, { ...options, whenBusy })
      const work = (next: (parked: Parking.Parked) => Effect.Effect<void, any, R>) =>
        Effect.gen(function*() {
          yield* redrive(store, settings, subscription)
          // whoever changes it after this fences us out
          const parked = Parking.make(yield* subscription.parkedKeys)
          return yield* Effect.forever(next(parked))
        })
      if (store.sequenced || !settings.exactlyOnce) {
        return yield* Effect.raceFirst(
          work((parked) => batch(subscription, subscription.next, parked)),
          subscription.lost
        )
      }
      // On SQLite the handler's transaction holds the one write lock: it keeps the lease from being renewed, and from being
      // taken, too. To interrupt it would only undo its work; the end of the batch says whether the lease is still ours.
      // Waiting for events it hears of a lost lease at once.
      const next = Effect.raceFirst(subscription.next, subscription.lost)
      return yield* work((parked) => Effect.zipRight(subscription.checkLease, batch(subscription, next, parked)))
    }))

  const standingBy = (whenBusy: WhenBusy): Effect.Effect<never, any, R> =>
    Effect.catchAll(session(whenBusy), (error) =>
      error instanceof Reopen
        ? standingBy(whenBusy)
        : error instanceof Parking.Paused
        ? standingBy("wait")
        : error instanceof ConsumerFenced
        ? Effect.zipRight(Effect.logWarning(`${error.message}. Standing by`), standingBy("wait"))
        : Effect.fail(error))

  return store.outside("run", Effect.zipRight(Settings.check(store, settings), standingBy(options.whenBusy)))
}
