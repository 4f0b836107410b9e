/**
 * The options of a run with their defaults, checked.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { ForeignTransaction, InvalidOption } from "../../EventStreamError.js"
import type { Isolation, Service as EventStore } from "../../services/EventStore.js"
import type { Handler, RunOptions, SubscribeError } from "../../services/Pusher.js"
import { fromOne } from "../reader.js"

/** 100 ms doubling to 30 s, with jitter, 8 times. */
const defaultRetry: Schedule.Schedule<unknown, unknown> = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(8))
)

const defaultTimeLimit = Duration.seconds(30)

export type Poison = NonNullable<RunOptions<any, any>["poison"]>

const poisons: ReadonlyArray<Poison> = ["stop", "skip", "deadLetter", "parkKey", "pause"]

export interface Settings<R> {
  readonly handler: Handler<any, unknown, R>
  readonly retry: Schedule.Schedule<unknown, unknown>
  readonly timeLimit: Duration.Duration
  readonly poison: Poison
  readonly maxParked: number
  readonly concurrency: number
  readonly exactlyOnce: boolean
  readonly isolation: Isolation | undefined
}

export const make = <R>(handler: Handler<any, unknown, R>, options: RunOptions<any, any>): Settings<R> => ({
  handler,
  retry: options.retry ?? defaultRetry,
  timeLimit: Duration.decode(options.timeLimit ?? defaultTimeLimit),
  poison: options.poison ?? "stop",
  maxParked: options.maxParked ?? 1000,
  concurrency: options.concurrency ?? 1,
  exactlyOnce: options.exactlyOnce ?? false,
  isolation: options.isolation
})

export const check = <R>(
  store: EventStore,
  { concurrency, exactlyOnce, maxParked, poison }: Settings<R>
): Effect.Effect<void, InvalidOption | ForeignTransaction | SubscribeError> =>
  Effect.gen(function*() {
    const refuse = (option: string, value: unknown, expected: string) =>
      new InvalidOption({ option, value: String(value), expected })
    if (!poisons.includes(poison)) return yield* refuse("poison", poison, `one of ${poisons.join(", ")}`)
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
