/**
 * A batch at least once: the handler is called, then the cursor moves, with the dead letters of what was given up.
 */
import * as Effect from "effect/Effect"
import * as Metrics from "../../internal/metrics.js"
import type { DeadLetter } from "../../services/EventStore.js"
import type { Subscription } from "../Pusher.js"
import { attempts, type Call, callsOf, type GaveUp, itemsOf, lanesOf } from "./attempts.js"
import * as Parking from "./parked.js"
import type { Settings } from "./settings.js"

/** What the calls of a batch have come to so far. */
interface Progress {
  readonly finished: Array<boolean>
  readonly letters: Array<DeadLetter>
  readonly parked: Parking.Parked
}

/** One call and what becomes of it; a batch that fails as a whole is tried again event by event. */
const settle = <R>(
  settings: Settings<R>,
  ident: string,
  call: Call,
  progress: Progress
): Effect.Effect<void, GaveUp, R> =>
  Effect.suspend(() => {
    const { finished, letters, parked } = progress
    const done = () => {
      for (const { index } of call) finished[index] = true
    }
    // parked by a call of this batch
    if (call.length === 1 && parked.has(call[0]!.event)) return Effect.void
    return Effect.matchEffect(attempts(settings, call, ident), {
      onSuccess: () => Effect.sync(done),
      onFailure: (gaveUp) => {
        if (call.length > 1) {
          return Effect.forEach(call, (item) => settle(settings, ident, [item], progress), { discard: true })
        }
        if (settings.poison === "stop" || settings.poison === "pause") return Effect.fail(gaveUp)
        if (settings.poison !== "skip") letters.push(Parking.letterOf(settings, gaveUp))
        if (settings.poison === "parkKey") parked.add(call[0]!.event)
        return Effect.map(Parking.said(settings, ident, gaveUp), done)
      }
    })
  })

/** So many characters of errors are written by one step: each may be long, and the database's packets are limited. */
const longestStep = 500_000

/** Moves the cursor to `upTo`, in as many steps as the letters need; they are in the order of their ids. */
const stepping = (subscription: Subscription, upTo: bigint, letters: ReadonlyArray<DeadLetter>) =>
  Effect.gen(function*() {
    let from = 0
    let length = 0
    for (let i = 0; i < letters.length; i++) {
      length += letters[i]!.error.length
      if (length < longestStep || i === letters.length - 1) continue
      yield* subscription.step(letters[i]!.row.id, letters.slice(from, i + 1))
      from = i + 1
      length = 0
    }
    yield* subscription.step(upTo, letters.slice(from))
  })

export const atLeastOnce = <R>(
  settings: Settings<R>,
  subscription: Subscription,
  events: ReadonlyArray<any>,
  upTo: bigint,
  parked: Parking.Parked
): Effect.Effect<void, any, R> =>
  Effect.gen(function*() {
    const { ident } = subscription
    const progress: Progress = { finished: events.map(() => false), letters: [], parked }
    const calls = callsOf(settings, itemsOf(events).filter(({ event }) => !parked.has(event)))
    const outcome = yield* Effect.either(Effect.forEach(
      lanesOf(settings, calls),
      (lane) => Effect.forEach(lane, (call) => settle(settings, ident, call, progress), { discard: true }),
      { concurrency: settings.concurrency, discard: true }
    ))
    // what was not called, although nothing before it failed, follows a parked event
    const isFollower = (event: any, index: number) => !progress.finished[index] && parked.has(event)
    if (outcome._tag === "Left") {
      // what was finished before it is not handled again
      const first = progress.finished.findIndex((is, index) => !is && !isFollower(events[index], index))
      const before = events.slice(0, first)
      if (first > 0) {
        yield* stepping(subscription, events[first - 1].id, before.filter(isFollower).map(Parking.follower))
      }
      return yield* Parking.giveIn(settings, subscription, outcome.left)
    }
    const letters = [...progress.letters, ...events.filter(isFollower).map(Parking.follower)]
      .sort((a, b) => Number(a.row.id - b.row.id))
    const beyond = letters.filter((letter) => letter.parked)[Math.max(0, settings.maxParked - parked.size())]
    if (beyond !== undefined) {
      const before = events.filter(({ id }) => id < beyond.row.id)
      if (before.length > 0) {
        const kept = letters.filter(({ row }) => row.id < beyond.row.id)
        yield* stepping(subscription, before[before.length - 1].id, kept)
      }
      const event = events.find(({ id }) => id === beyond.row.id)
      return yield* Parking.pause(subscription, event, Parking.tooMany(settings))
    }
    yield* stepping(subscription, upTo, letters)
    parked.count(letters)
    yield* Metrics.delivered(ident, events.length - letters.length)
    yield* Metrics.deadLettered(ident, letters.length)
  })
