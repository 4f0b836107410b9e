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
import type { DeadLetter, Letter, Service as EventStore } from "../services/EventStore.js"
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

/** The consumer was paused by what a handler failed on: stands by until it is resumed. */
class Paused {
  readonly _tag = "Paused"
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

/** The keys whose events are parked for now, and how many events are. */
interface Parked {
  readonly has: (event: { readonly key: string | null }) => boolean
  readonly add: (event: { readonly key: string | null }) => void
  readonly size: () => number
  readonly grow: (n: number) => void
}

const parkedOf = (stored: ReadonlyMap<string, number>): Parked => {
  const keys = new Set(stored.keys())
  let size = [...stored.values()].reduce((sum, n) => sum + n, 0)
  return {
    has: ({ key }) => key !== null && keys.has(key),
    add: ({ key }) => {
      if (key !== null) keys.add(key)
    },
    size: () => size,
    grow: (n) => {
      size += n
    }
  }
}

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
  const maxParked = options.maxParked ?? 1000

  const check: Effect.Effect<void, InvalidOption | ForeignTransaction | SubscribeError> = Effect.gen(function*() {
    const refuse = (option: string, value: unknown, expected: string) =>
      new InvalidOption({ option, value: String(value), expected })
    if (!["stop", "skip", "deadLetter", "parkKey", "pause"].includes(poison)) {
      return yield* refuse("poison", poison, "stop, skip, deadLetter, parkKey or pause")
    }
    yield* fromOne("maxParked", maxParked)
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

  /** How a batch is cut into calls of the handler: [index of the first event, events]. Without those of a parked key. */
  const calls = (
    events: ReadonlyArray<any>,
    parked: Parked
  ): ReadonlyArray<readonly [number, ReadonlyArray<any>]> =>
    typeof handler === "function" || events.some((event) => event._tag === "Undecodable" || parked.has(event))
      ? events.flatMap((event, index) => parked.has(event) ? [] : [[index, [event]]])
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
    ids: [event.id],
    error: errorText(cause),
    attempts,
    parked: poison === "parkKey"
  })

  /** Those of a batch that follow a parked event of their key. */
  const followers = (events: ReadonlyArray<any>): ReadonlyArray<DeadLetter> =>
    events.length === 0
      ? []
      : [{ ids: events.map(({ id }) => id), error: "an earlier event of its key is parked", attempts: 0, parked: true }]

  const countOf = (letters: ReadonlyArray<DeadLetter>) => letters.reduce((n, { ids }) => n + ids.length, 0)

  /** Stops delivery to everybody until somebody has looked at it. */
  const pause = (subscription: Subscription, event: any, why: string): Effect.Effect<never, any> =>
    subscription.pause(`event ${event.id} (${event.type}): ${why}`).pipe(
      Effect.zipRight(Effect.logWarning(`${subscription.ident}: paused before event ${event.id} (${event.type})`)),
      Effect.zipRight(Effect.fail(new Paused()))
    )
  const tooMany = `more than ${maxParked} events are parked`

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
    done: (index: number, count: number) => void,
    parked: Parked
  ): Effect.Effect<void, GaveUp, R> =>
    Effect.suspend(() =>
      events.length === 1 && parked.has(events[0]) ? Effect.void : Effect.matchEffect(attempts(events, index, ident), {
        onSuccess: () => Effect.sync(() => done(index, events.length)),
        onFailure: (gaveUp) => {
          if (events.length > 1) {
            return Effect.forEach(events, (event, i) => settle(ident, [index + i, [event]], letters, done, parked), {
              discard: true
            })
          }
          if (poison === "stop" || poison === "pause") return Effect.fail(gaveUp)
          if (poison !== "skip") letters.push(letterOf(events[0], gaveUp))
          if (poison === "parkKey") parked.add(events[0])
          return Effect.map(said(ident, events[0], gaveUp), () => done(index, 1))
        }
      })
    )

  const atLeastOnce = (subscription: Subscription, events: ReadonlyArray<any>, upTo: bigint, parked: Parked) =>
    Effect.gen(function*() {
      const { ident } = subscription
      const letters: Array<DeadLetter> = []
      const finished = events.map(() => false)
      const done = (index: number, count: number) => finished.fill(true, index, index + count)
      const outcome = yield* Effect.either(Effect.forEach(
        lanes(calls(events, parked)),
        (lane) => Effect.forEach(lane, (call) => settle(ident, call, letters, done, parked), { discard: true }),
        { concurrency, discard: true }
      ))
      // what was not called although nothing failed follows a parked event
      const following = (index: number) => !finished[index] && parked.has(events[index])
      if (outcome._tag === "Right") {
        const all = [...letters, ...followers(events.filter((_, index) => following(index)))]
        const room = maxParked - parked.size()
        const given = countOf(all)
        const isParked = (event: any) => all.some(({ ids, parked }) => parked && ids.includes(event.id))
        if (all.some((letter) => letter.parked) && events.filter(isParked).length > room) {
          const first = events.filter(isParked)[Math.max(0, room)]
          const before = events.filter(({ id }) => id < first.id)
          if (before.length > 0) {
            const kept = all.map((letter) => ({ ...letter, ids: letter.ids.filter((id) => id < first.id) }))
            yield* subscription.step(before[before.length - 1].id, kept.filter(({ ids }) => ids.length > 0))
          }
          return yield* pause(subscription, first, tooMany)
        }
        yield* subscription.step(upTo, all)
        parked.grow(events.filter(isParked).length)
        yield* Metrics.delivered(ident, events.length - given)
        return yield* Metrics.deadLettered(ident, given)
      }
      // what was finished before it is not handled again
      const first = finished.findIndex((is, index) => !is && !parked.has(events[index]))
      if (first > 0) {
        yield* subscription.step(events[first - 1].id, followers(events.slice(0, first).filter(parked.has)))
      }
      const failing = outcome.left
      if (poison === "pause") return yield* pause(subscription, events[failing.index], errorText(failing.cause))
      return yield* failed(ident, events[failing.index], failing)
    })

  /**
   * Handler and cursor in one transaction. The transaction of an event that was given up is rolled back; what goes before it
   * commits on its own, then the decision about it, then the rest.
   */
  const once = (
    subscription: Subscription,
    events: ReadonlyArray<any>,
    upTo: bigint,
    parked: Parked
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
          if (poison === "pause") return yield* pause(subscription, event, errorText(doomed.cause))
          yield* said(ident, event, doomed)
          const letters = poison === "skip" ? [] : [letterOf(event, doomed)]
          if (poison === "parkKey") {
            if (parked.size() >= maxParked) return yield* pause(subscription, event, tooMany)
            parked.add(event)
          }
          yield* subscription.step(start === events.length - 1 ? upTo : event.id, letters)
          if (poison === "parkKey") parked.grow(1)
          yield* Metrics.deadLettered(ident, letters.length)
          doomed = undefined
          goOn(start + 1)
          continue
        }
        const part = events.slice(start, end)
        const last = end === events.length ? upTo : part[part.length - 1].id
        const following = part.filter(parked.has)
        if (following.length > 0 && parked.size() + following.length > maxParked) {
          // one at a time up to the first that has no room
          if (part.length > 1) {
            single = true
            goOn(start)
            continue
          }
          return yield* pause(subscription, part[0], tooMany)
        }
        const exit = yield* Effect.exit(store.transaction(
          Effect.zipRight(
            Effect.forEach(calls(part, parked), ([index, of]) => attemptWithin(of, start + index), { discard: true }),
            subscription.stepWithin(last, followers(following))
          ),
          { isolation: options.isolation }
        ))
        if (Exit.isSuccess(exit)) {
          parked.grow(following.length)
          yield* Metrics.delivered(ident, part.length - following.length)
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

  /** Dead letters that are to be delivered again, before anything newer. */
  const redrive = (subscription: Subscription): Effect.Effect<void, any, R> =>
    Effect.gen(function*() {
      while (true) {
        const letters = yield* subscription.redriven
        if (letters.length === 0) return
        /** Keys of which an event has failed again: what follows it stays parked. */
        const failedKeys = new Set<string>()
        for (const letter of letters) {
          const { key } = letter.row
          if (letter.parked && key !== null && failedKeys.has(key)) continue
          const event = subscription.decodeLetter(letter)
          const outcome = yield* Effect.either(
            exactlyOnce ? redriveOnce(subscription, letter, event) : attempts([event], 0, subscription.ident)
          )
          if (outcome._tag === "Right") {
            if (!exactlyOnce) yield* subscription.settle(letter, undefined)
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

  /** Handler and the letter's end in one transaction. */
  const redriveOnce = (
    subscription: Subscription,
    letter: Letter,
    event: any
  ): Effect.Effect<void, any, R> =>
    Effect.gen(function*() {
      const driver = yield* Schedule.driver(retry)
      let made = 0
      let conflicts = 0
      while (true) {
        const exit = yield* Effect.exit(store.transaction(
          Effect.zipRight(attemptWithin([event], 0), subscription.settleWithin(letter)),
          { isolation: options.isolation }
        ))
        if (Exit.isSuccess(exit)) return
        const failure = Cause.failureOption(exit.cause)
        if (failure._tag === "None") return yield* Effect.failCause(exit.cause)
        const error: any = failure.value
        if (ofDatabase(error)) {
          yield* Effect.sleep(Math.min(10 * 2 ** ++conflicts, 2000))
          continue
        }
        if (!(error instanceof GaveUp)) {
          const unknown = error._tag === "TransactionFailed" && error.outcome === "unknown"
          return yield* unknown ? Effect.fail(new Reopen()) : Effect.failCause(exit.cause)
        }
        made += error.attempts
        if (error.attempts > 0 && Exit.isSuccess(yield* Effect.exit(driver.next(error.cause)))) {
          yield* Metrics.retried(subscription.ident)
          continue
        }
        return yield* Effect.fail(new GaveUp(0, 1, made, error.cause))
      }
    })

  const session = (whenBusy: RunOptions<any, any>["whenBusy"]) =>
    Effect.scoped(Effect.gen(function*() {
      const subscription = yield* open(consumer, { ...options, whenBusy })
      yield* redrive(subscription)
      const parked = parkedOf(yield* subscription.parkedKeys)
      const loop = Effect.gen(function*() {
        const page = yield* subscription.next
        const { events } = subscription.decode(page)
        if (events.length === 0) return yield* subscription.step(page.upTo)
        yield* (exactlyOnce ? once : atLeastOnce)(subscription, events, page.upTo, parked)
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
      error instanceof Reopen || error instanceof Paused
        ? standingBy(whenBusy)
        : error instanceof ConsumerFenced
        ? Effect.zipRight(Effect.logWarning(`${error.message}. Standing by`), standingBy("wait"))
        : Effect.fail(error))

  return store.outside("run", Effect.zipRight(check, standingBy(options.whenBusy)))
}
