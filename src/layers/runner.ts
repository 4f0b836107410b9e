/**
 * The managed loop of a consumer: reads, handles with retries, decides about poison, moves the cursor, and starts again
 * as a standby when another receiver took over.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Consumer } from "../Consumer.js"
import {
  ConsumerFenced,
  ForeignTransaction,
  fromCause,
  HandlerFailed,
  InvalidOption,
  isRetryable
} from "../EventStreamError.js"
import * as Metrics from "../internal/metrics.js"
import type { DeadLetter, Service as EventStore } from "../services/EventStore.js"
import type { Handler, RunOptions, SubscribeError, SubscribeOptions } from "../services/Pusher.js"
import type { Subscription } from "./Pusher.js"
import { fromOne } from "./reader.js"

type Open = (
  consumer: Consumer,
  options: SubscribeOptions<any, any>
) => Effect.Effect<Subscription, SubscribeError, Scope.Scope>

/** 100 ms doubling to 30 s, with jitter, 8 times. */
export const defaultRetry: Schedule.Schedule<unknown, unknown> = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(8))
)

const defaultTimeLimit = Duration.seconds(30)

const longestError = 10_000

/** The answer to a COMMIT was lost: what became of it is read from the cursor, by starting again. */
class Reopen {
  readonly _tag = "Reopen"
}

/** Within a batch: the handler gave up on `count` events from `index` on. Without an attempt: it could not be decoded. */
class GaveUp {
  readonly _tag = "GaveUp"
  constructor(
    readonly index: number,
    readonly count: number,
    readonly attempts: number,
    readonly cause: Cause.Cause<unknown>
  ) {}
}

const ofDatabase = (error: unknown): boolean =>
  error instanceof GaveUp
    ? Option.exists(fromCause(error.cause), ({ retryable }) => retryable)
    : isRetryable(error)

const errorText = (cause: Cause.Cause<unknown>): string =>
  Cause.pretty(cause).slice(0, longestError).replaceAll("\u0000", "\uFFFD").replace(
    /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g,
    "\uFFFD"
  )

export const run = <X, R>(
  store: EventStore,
  open: Open,
  consumer: Consumer,
  handler: Handler<any, X, R>,
  options: RunOptions<any, any> = {}
): Effect.Effect<never, Exclude<SubscribeError, ConsumerFenced> | HandlerFailed | ForeignTransaction, R> => {
  const retry = options.retry ?? defaultRetry
  const timeLimit = Duration.decode(options.timeLimit ?? defaultTimeLimit)
  const poison = options.poison ?? "stop"
  const concurrency = options.concurrency ?? 1
  const exactlyOnce = options.exactlyOnce ?? false

  const check: Effect.Effect<void, InvalidOption | ForeignTransaction | SubscribeError> = Effect.gen(function*() {
    const refuse = (option: string, value: unknown, expected: string) =>
      new InvalidOption({ option, value: String(value), expected })
    if (!["stop", "skip", "deadLetter"].includes(poison)) {
      return yield* refuse("poison", poison, "stop, skip or deadLetter")
    }
    yield* fromOne("concurrency", concurrency)
    if (exactlyOnce && concurrency > 1) {
      return yield* refuse("concurrency", concurrency, "1 with exactlyOnce: a transaction has one connection")
    }
    if (!exactlyOnce) return
    const client = yield* Effect.serviceOption(SqlClient.SqlClient)
    if (client._tag === "Some" && !(yield* store.owns(client.value))) {
      return yield* new ForeignTransaction({ operation: "run with exactlyOnce" })
    }
  })

  const call = (events: ReadonlyArray<any>) =>
    Effect.suspend(() => typeof handler === "function" ? handler(events[0]) : handler.batch(events))

  const inTime = <A, E>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.timeoutFail({
        duration: timeLimit,
        onTimeout: () => new Error(`the handler took longer than ${Duration.format(timeLimit)}`)
      }),
      Effect.sandbox
    )

  /** Poison without an attempt; `calls` gives it a call of its own. */
  const undecodable = ({ issue }: { readonly issue: string }, index: number) =>
    Effect.fail(new GaveUp(index, 1, 0, Cause.fail(new Error(issue))))

  /** Calls the handler until it succeeds, or its schedule ends. */
  const attempts = (events: ReadonlyArray<any>, index: number, ident: string): Effect.Effect<void, GaveUp, R> =>
    Effect.suspend(() => {
      let made = 0
      if (events[0]._tag === "Undecodable") return undecodable(events[0], index)
      const once = Effect.suspend(() => {
        made++
        // a handler that cannot be interrupted is left behind
        return inTime(Effect.disconnect(call(events)))
      })
      return Effect.retry(once, {
        schedule: Schedule.tapOutput(retry, () => Metrics.retried(ident))
      }).pipe(
        Effect.asVoid,
        // a handler that interrupts itself has failed, too; when this fiber is interrupted nothing of this runs
        Effect.mapError((cause) => new GaveUp(index, events.length, made, cause))
      )
    })

  /** How a batch is cut into calls of the handler: [index of the first event, events]. */
  const calls = (events: ReadonlyArray<any>): ReadonlyArray<readonly [number, ReadonlyArray<any>]> =>
    typeof handler === "function" || events.some((event) => event._tag === "Undecodable")
      ? events.map((event, index) => [index, [event]])
      : [[0, events]]

  /** Those that must stay in order, together. */
  const lanes = (all: ReturnType<typeof calls>): ReadonlyArray<ReturnType<typeof calls>> => {
    if (concurrency === 1) return [all]
    const byKey = new Map<unknown, Array<(typeof all)[number]>>()
    for (const call of all) {
      const key = call[1].length === 1 ? call[1][0].key ?? call : call
      const lane = byKey.get(key)
      if (lane === undefined) byKey.set(key, [call])
      else lane.push(call)
    }
    return [...byKey.values()]
  }

  const letterOf = (event: any, { attempts, cause }: GaveUp): DeadLetter => ({
    id: event.id,
    error: errorText(cause),
    attempts
  })

  const failed = (ident: string, event: any, { attempts, cause }: GaveUp) =>
    new HandlerFailed({ consumer: ident, id: event.id, type: event.type, attempts, cause: Cause.squash(cause) })

  const said = (ident: string, event: any, gaveUp: GaveUp) =>
    Effect.logWarning(
      `${ident}: event ${event.id} (${event.type}) is given up after ${gaveUp.attempts} attempts: ${poison}`,
      gaveUp.cause
    )

  /** One call and what becomes of it; a batch that fails as a whole is tried again event by event. */
  const settle = (
    ident: string,
    [index, events]: readonly [number, ReadonlyArray<any>],
    letters: Array<DeadLetter>,
    done: (index: number, count: number) => void
  ): Effect.Effect<void, GaveUp, R> =>
    Effect.matchEffect(attempts(events, index, ident), {
      onSuccess: () => Effect.sync(() => done(index, events.length)),
      onFailure: (gaveUp) => {
        if (events.length > 1) {
          return Effect.forEach(events, (event, i) => settle(ident, [index + i, [event]], letters, done), {
            discard: true
          })
        }
        if (poison === "stop") return Effect.fail(gaveUp)
        if (poison === "deadLetter") letters.push(letterOf(events[0], gaveUp))
        return Effect.map(said(ident, events[0], gaveUp), () => done(index, 1))
      }
    })

  const atLeastOnce = (subscription: Subscription, events: ReadonlyArray<any>, upTo: bigint) =>
    Effect.gen(function*() {
      const { ident } = subscription
      const letters: Array<DeadLetter> = []
      const finished = events.map(() => false)
      const done = (index: number, count: number) => finished.fill(true, index, index + count)
      const outcome = yield* Effect.either(Effect.forEach(
        lanes(calls(events)),
        (lane) => Effect.forEach(lane, (call) => settle(ident, call, letters, done), { discard: true }),
        { concurrency, discard: true }
      ))
      if (outcome._tag === "Right") {
        yield* subscription.step(upTo, letters)
        yield* Metrics.delivered(ident, events.length - letters.length)
        return yield* Metrics.deadLettered(ident, letters.length)
      }
      // what was finished before it is not handled again
      const first = finished.indexOf(false)
      if (first > 0) yield* subscription.step(events[first - 1].id)
      return yield* failed(ident, events[outcome.left.index], outcome.left)
    })

  /**
   * Handler and cursor in one transaction. The transaction of an event that was given up is rolled back; what goes before it
   * commits on its own, then the decision about it, then the rest.
   */
  const once = (
    subscription: Subscription,
    events: ReadonlyArray<any>,
    upTo: bigint
  ): Effect.Effect<void, any, R> =>
    Effect.gen(function*() {
      const { ident } = subscription
      let start = 0
      let end = events.length
      /** A batch handler failed on many: one at a time from here, to find out which. */
      let single = false
      let failing = -1
      let made = 0
      let conflicts = 0
      let doomed: GaveUp | undefined
      const driver = yield* Schedule.driver(retry)
      const goOn = (from: number) => {
        start = from
        end = single ? from + 1 : events.length
        made = conflicts = 0
        failing = -1
      }
      while (start < events.length) {
        if (doomed?.index === start) {
          const event = events[start]
          if (poison === "stop") return yield* failed(ident, event, doomed)
          yield* said(ident, event, doomed)
          const letters = poison === "deadLetter" ? [letterOf(event, doomed)] : []
          yield* subscription.step(start === events.length - 1 ? upTo : event.id, letters)
          yield* Metrics.deadLettered(ident, letters.length)
          doomed = undefined
          goOn(start + 1)
          continue
        }
        const part = events.slice(start, end)
        const last = end === events.length ? upTo : part[part.length - 1].id
        const exit = yield* Effect.exit(store.transaction(
          Effect.zipRight(
            Effect.forEach(calls(part), ([index, of]) => attemptWithin(of, start + index), { discard: true }),
            subscription.stepWithin(last)
          ),
          { isolation: options.isolation }
        ))
        if (Exit.isSuccess(exit)) {
          yield* Metrics.delivered(ident, part.length)
          goOn(end)
          continue
        }
        const failure = Cause.failureOption(exit.cause)
        if (failure._tag === "None") return yield* Effect.failCause(exit.cause)
        const error = failure.value
        // a conflict or a dead connection is the database's failure, not the handler's: again, as often as it takes
        if (ofDatabase(error)) {
          if (++conflicts === 10) yield* Effect.logWarning(`${ident}: the database fails again and again`, exit.cause)
          yield* Effect.sleep(Math.min(10 * 2 ** conflicts, 2000))
          continue
        }
        if (!(error instanceof GaveUp)) {
          const unknown = error._tag === "TransactionFailed" && error.outcome === "unknown"
          return yield* unknown ? Effect.fail(new Reopen()) : Effect.failCause(exit.cause)
        }
        if (error.index !== failing) {
          failing = error.index
          made = 0
          yield* driver.reset
        }
        made++
        if (error.attempts > 0 && Exit.isSuccess(yield* Effect.exit(driver.next(error.cause)))) {
          yield* Metrics.retried(ident)
          continue
        }
        yield* driver.reset
        if (error.count > 1) {
          single = true
          goOn(start)
          continue
        }
        doomed = new GaveUp(error.index, 1, error.attempts === 0 ? 0 : made, error.cause)
        // first what goes before it
        end = error.index
      }
    })

  const attemptWithin = (events: ReadonlyArray<any>, index: number): Effect.Effect<void, GaveUp, R> =>
    events[0]._tag === "Undecodable"
      ? undecodable(events[0], index)
      : Effect.asVoid(Effect.mapError(inTime(call(events)), (cause) => new GaveUp(index, events.length, 1, cause)))

  const session = (whenBusy: RunOptions<any, any>["whenBusy"]) =>
    Effect.scoped(Effect.gen(function*() {
      const subscription = yield* open(consumer, { ...options, whenBusy })
      const loop = Effect.gen(function*() {
        const page = yield* subscription.next
        const { events } = subscription.decode(page)
        if (events.length === 0) return yield* subscription.step(page.upTo)
        yield* (exactlyOnce ? once(subscription, events, page.upTo) : atLeastOnce(subscription, events, page.upTo))
          .pipe(
            Metrics.processing(subscription.ident, events)
          )
      })
      if (store.sequenced || !exactlyOnce) return yield* Effect.raceFirst(Effect.forever(loop), subscription.lost)
      // On SQLite the handler's transaction holds the one write lock: it keeps the lease from being renewed, and from being
      // taken, too. To interrupt it would only undo its work; the end of the batch says whether the lease is still ours.
      return yield* Effect.forever(Effect.zipRight(subscription.checkLease, loop))
    }))

  const standingBy = (whenBusy: RunOptions<any, any>["whenBusy"]): Effect.Effect<never, any, R> =>
    Effect.catchAll(session(whenBusy), (error) =>
      error instanceof Reopen
        ? standingBy(whenBusy)
        : error instanceof ConsumerFenced
        ? Effect.zipRight(Effect.logWarning(`${error.message}. Standing by`), standingBy("wait"))
        : Effect.fail(error))

  return store.outside("run", Effect.zipRight(check, standingBy(options.whenBusy)))
}
