/**
 * The Generator of a remote stream: events are encoded and checked here, and written there. Those without a dedupe key get
 * their uid as one, so that they can be sent again when an answer was lost, and are stored once.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { NewEvent } from "../../../Event.js"
import type { EventId } from "../../../EventId.js"
import {
  InvalidEvent,
  InvalidOption,
  LimitExceeded,
  NotInTransaction,
  OutcomeUnknown,
  StoreError
} from "../../../EventStreamError.js"
import type { Service } from "../../../services/Generator.js"
import * as Generator from "../../Generator.js"
import { defaultRetry } from "../../reader.js"
import { detached } from "../../sql/Database.js"
import { sizeOf } from "../wire.js"
import { type Answered, type Calls, isUnsent } from "./calls.js"

/** What the server allows is known to the server; more than this it cannot allow. */
const mostDataBytes = 4 * 1024 * 1024

export const make = ({ call, client, settings }: Calls): Effect.Effect<Service, never, Scope.Scope> => {
  const { messageBytes, timeLimit } = settings

  /** Until it is answered, or time is over. Then it is not known whether it is stored, if it may have arrived once. */
  const append = (events: ReadonlyArray<NewEvent>): Effect.Effect<ReadonlyArray<EventId>, Answered> =>
    Effect.gen(function*() {
      const bytes = events.reduce((sum, event) => sum + sizeOf(event), 1000)
      if (bytes > messageBytes) {
        return yield* new StoreError({
          operation: "add",
          reason: "full",
          retryable: false,
          cause: new LimitExceeded({ limit: "messageBytes", most: messageBytes })
        })
      }
      const named = events.map((event) => ({ ...event, dedupeKey: event.dedupeKey ?? event.uid }))
      const until = (yield* Clock.currentTimeMillis) + Duration.toMillis(timeLimit)
      // one that is silent leaves time to try again
      const attempt = Duration.times(timeLimit, 1 / 3)
      const pauses = yield* Schedule.driver(settings.reconnect ?? defaultRetry)
      let arrived = false
      while (true) {
        const outcome = yield* Effect.either(call("add", client.Append({ events: named }), attempt))
        if (outcome._tag === "Right") return outcome.right as ReadonlyArray<bigint> as ReadonlyArray<EventId>
        const error = outcome.left
        const lost = error._tag === "OutcomeUnknown" ||
          (error._tag === "StoreError" && (error.reason === "connection" || error.reason === "timeout") &&
            error.cause !== undefined)
        if (lost && !(error._tag === "StoreError" && isUnsent(error))) arrived = true
        const now = yield* Clock.currentTimeMillis
        if (!lost || now >= until) {
          return yield* arrived && (lost || error._tag === "StoreError")
            ? new OutcomeUnknown({ uids: events.map(({ uid }) => uid), cause: error })
            : Effect.fail(error)
        }
        yield* Effect.orElse(pauses.next(error as StoreError), () => Effect.void)
      }
    })

  return Effect.map(
    Generator.make({
      append: append as Generator.Host["append"],
      emit: () => new NotInTransaction({ operation: "emit" }),
      transaction: () =>
        new InvalidOption({
          option: "transaction",
          value: "a remote stream",
          expected: "called where the stream's database is: use add for events without a change"
        }),
      statement: () => ({ sql: "", params: [] }),
      outside: (_, effect) => detached(effect)
    }, { maxDataBytes: mostDataBytes }),
    (generator): Service => ({
      ...generator,
      statement: (events) =>
        Effect.fail(
          new InvalidEvent({
            type: events[0]?.type.name ?? "",
            part: "statement",
            reason: "cannot be written by a transaction here: the stream is remote. Use add"
          })
        )
    })
  )
}
