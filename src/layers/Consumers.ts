/**
 * The administration of consumers on an event store.
 */
import * as Effect from "effect/Effect"
import type { Consumer } from "../Consumer.js"
import * as EventId from "../EventId.js"
import { InvalidOption, NotRegistered } from "../EventStreamError.js"
import type { DeadLetter, Service, Which } from "../services/Consumers.js"
import type { LettersOf, Service as EventStore } from "../services/EventStore.js"
import { identOf, type Reader, select } from "./reader.js"

const longestReason = 1000

export const make = (store: EventStore, reader: Reader): Service => {
  const named = <A, E, R>(operation: string, consumer: Consumer, f: (ident: string) => Effect.Effect<A, E, R>) =>
    store.outside(operation, Effect.flatMap(identOf(operation, consumer), f))

  const chosen = (ident: string, which: Which): Effect.Effect<LettersOf, InvalidOption> => {
    if (which === "all") return Effect.succeed({ ident, of: which })
    if ("key" in which) return Effect.succeed({ ident, of: { key: which.key } })
    if (which.ids.length === 0) {
      return Effect.fail(new InvalidOption({ option: "ids", value: "[]", expected: "a list of at least one id" }))
    }
    return Effect.map(
      Effect.forEach(which.ids, (id) => EventId.parse("ids", id)),
      (ids) => ({ ident, of: { ids } })
    )
  }

  const isRegistered = (ident: string) =>
    Effect.flatMap(
      store.look({ ident, after: 0n, window: 0 }),
      ({ cursor }) => cursor === undefined ? Effect.fail(new NotRegistered({ consumer: ident })) : Effect.void
    )

  const pause: Service["pause"] = (consumer, why = "paused") =>
    named("pause", consumer, (ident) =>
      Effect.flatMap(
        store.pause({ ident, why: why.replaceAll("\u0000", "").slice(0, longestReason), epoch: undefined }),
        (result) => result === "unregistered" ? Effect.fail(new NotRegistered({ consumer: ident })) : Effect.void
      ))

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
        const letters = yield* store.letters({ ident, key: options?.key, after, limit })
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
