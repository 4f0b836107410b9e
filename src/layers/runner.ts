/**
 * The managed loop of a consumer: opens it, redrives what is to be redriven, then handles batch after batch, and starts
 * again as a standby when another receiver took over, or when somebody changed the consumer.
 *
 * - `settings`: the options, checked;
 * - `attempts`: calls of the handler;
 * - `parked`: what becomes of events that are given up;
 * - `atLeastOnce`, `exactlyOnce`: a batch and its cursor;
 * - `redrive`: dead letters again.
 *
 * With partitions all of that is of a partition: `groups/member`.
 */
import * as Effect from "effect/Effect"
import type { Consumer } from "../Consumer.js"
import { ConsumerFenced, type ForeignTransaction, type HandlerFailed } from "../EventStreamError.js"
import * as Metrics from "../internal/metrics.js"
import type { Handler, RunOptions, SubscribeError } from "../services/Pusher.js"
import * as Group from "./groups/member.js"
import type { Ports, Subscription } from "./Pusher.js"
import { atLeastOnce } from "./runner/atLeastOnce.js"
import { Reopen } from "./runner/committing.js"
import { exactlyOnce } from "./runner/exactlyOnce.js"
import * as Parking from "./runner/parked.js"
import { redrive } from "./runner/redrive.js"
import * as Settings from "./runner/settings.js"

type WhenBusy = RunOptions<any, any>["whenBusy"]

export const run = <X, R>(
  ports: Ports,
  consumer: Consumer,
  handler: Handler<any, X, R>,
  options: RunOptions<any, any> = {}
): Effect.Effect<never, Exclude<SubscribeError, ConsumerFenced> | HandlerFailed | ForeignTransaction, R> => {
  const { open, store } = ports
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

  /** From what is to be redriven on, batch after batch. */
  const working: Group.Work<R> = (subscription, next) =>
    Effect.gen(function*() {
      const work = (each: (parked: Parking.Parked) => Effect.Effect<void, any, R>) =>
        Effect.gen(function*() {
          yield* redrive(store, settings, subscription)
          // whoever changes it after this fences us out
          const parked = Parking.make(yield* subscription.parkedKeys)
          return yield* Effect.forever(each(parked))
        })
      if (store.sequenced || !settings.exactlyOnce) {
        return yield* Effect.raceFirst(
          work((parked) => batch(subscription, next, parked)),
          subscription.lost
        )
      }
      // On SQLite the handler's transaction holds the one write lock: it keeps the lease from being renewed, and from being
      // taken, too. To interrupt it would only undo its work; the end of the batch says whether the lease is still ours.
      // Waiting for events it hears of a lost lease at once.
      const unlessLost = Effect.raceFirst(next, subscription.lost)
      return yield* work((parked) => Effect.zipRight(subscription.checkLease, batch(subscription, unlessLost, parked)))
    })

  const session = (whenBusy: WhenBusy): Effect.Effect<never, any, R> =>
    Effect.scoped(Effect.flatMap(
      open(consumer, { ...options, whenBusy }),
      (subscription) => working(subscription, subscription.next)
    ))

  const standingBy = (whenBusy: WhenBusy): Effect.Effect<never, any, R> =>
    Effect.catchAll(session(whenBusy), (error) =>
      error instanceof Reopen
        ? standingBy(whenBusy)
        : error instanceof Parking.Paused
        ? standingBy("wait")
        : error instanceof ConsumerFenced
        ? Effect.zipRight(Effect.logWarning(`${error.message}. Standing by`), standingBy("wait"))
        : Effect.fail(error))

  const alone = standingBy(options.whenBusy)
  const inGroup = (partitions: number) =>
    Effect.catchAll(
      Group.run(ports, consumer, partitions, options, working),
      (error) =>
        error instanceof Group.Whole
          ? Effect.zipRight(Effect.logWarning(`${String(consumer)}: has no partitions any more`), standingBy("wait"))
          : Effect.fail(error)
    )
  return store.outside(
    "run",
    Effect.zipRight(
      Settings.check(store, settings),
      options.partitions === undefined || options.partitions === 1 ? alone : inGroup(options.partitions)
    )
  )
}
