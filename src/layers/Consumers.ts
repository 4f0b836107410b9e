/**
 * The administration of consumers on an event store.
 */
import * as Effect from "effect/Effect"
import type { Consumer } from "../Consumer.js"
import * as EventId from "../EventId.js"
import { InvalidOption, NotRegistered } from "../EventStreamError.js"
import { keyIssue } from "../internal/key.js"
import type { DeadLetter, Service, Which } from "../services/Consumers.js"
import type { LettersOf, Service as EventStore } from "../services/EventStore.js"
import { identOf, type Reader, select } from "./reader.js"

const longestReason = 1000

/** They go into one statement. */
const mostIds = 10_000

export const make = (store: EventStore, reader: Reader): Service => {
  const named = <A, E, R>(operation: string, consumer: Consumer, f: (ident: string) => Effect.Effect<A, E, R>) =>
    store.outside(operation, Effect.flatMap(identOf(operation, consumer), f))

  const refuse = (option: string, value: unknown, expected: string) =>
    Effect.fail(new InvalidOption({ option, value: String(value).slice(0, 60), expected }))

  const keyOf = (key: unknown): Effect.Effect<string, InvalidOption> => {
    const issue = keyIssue(key)
    return issue === undefined
      ? Effect.succeed(key as string)
      : refuse("key", typeof key === "string" ? JSON.stringify(key) : key, `a key of events: it ${issue}`)
  }

  const chosen = (ident: string, which: Which): Effect.Effect<LettersOf, InvalidOption> => {
    if (which === "all") return Effect.succeed({ ident, of: which })
    if (typeof which === "object" && which !== null && "key" in which) {
      return Effect.map(keyOf(which.key), (key) => ({ ident, of: { key } }))
    }
    if (typeof which !== "object" || which === null || !Array.isArray(which.ids)) {
      return refuse("which", which, `"all", { key } or { ids }`)
    }
    const { ids } = which
    if (ids.length === 0 || ids.length > mostIds) {
      return refuse("ids", `a list of ${ids.length}`, `a list of 1 to ${mostIds} ids`)
    }
    return Effect.map(Effect.forEach(ids, (id) => EventId.parse("ids", id)), (ids) => ({ ident, of: { ids } }))
  }

  const isRegistered = (ident: string) =>
    Effect.flatMap(
      store.look({ ident, after: 0n, window: 0 }),
      ({ cursor }) => cursor === undefined ? Effect.fail(new NotRegistered({ consumer: ident })) : Effect.void
    )

  const pause: Service["pause"] = (consumer, why = "paused") =>
    named("pause", consumer, (ident) =>
      Effect.gen(function*() {
        if (typeof why !== "string") return yield* refuse("why", why, "a text")
        const reason = why.replaceAll("\u0000", "").slice(0, longestReason)
        const result = yield* store.pause({ ident, why: reason, epoch: undefined })
        if (result === "unregistered") return yield* new NotRegistered({ consumer: ident })
      }))

  const resume: Service["resume"] = (consumer) =>
    named("resume", consumer, (ident) =>
      Effect.flatMap(
        store.resume(ident),
        (found) => found ? Effect.void : Effect.fail(new NotRegistered({ consumer: ident }))
      ))

  const deadLetters: Service["deadLetters"] = (consumer, options) =>
    named("deadLetters", consumer, (ident) =>
      Effect.gen(function*() {
        const limit = yield* reader.limit(options?.limit ?? 100)
        const after = options?.after === undefined ? 0n : yield* EventId.parse("after", options.after)
        const { decode } = yield* select(undefined, options?.catalog)
        const key = options?.key === undefined ? undefined : yield* keyOf(options.key)
        const letters = yield* store.letters({ ident, key, after, limit })
        return letters.map(({ attempts, error, failedAt, parked, redrive, row }): DeadLetter<any> => ({
          event: decode(row),
          error,
          attempts,
          parked,
          redriving: redrive,
          failedAt: new Date(failedAt)
        }))
      }))

  const redrive: Service["redrive"] = (consumer, which = "all") =>
    named(
      "redrive",
      consumer,
      (ident) => Effect.flatMap(chosen(ident, which), (of) => Effect.zipRight(isRegistered(ident), store.redrive(of)))
    )

  const drop: Service["drop"] = (consumer, which) =>
    named("drop", consumer, (ident) => Effect.flatMap(chosen(ident, which), store.drop))

  return { pause, resume, deadLetters, redrive, drop }
}
