/**
 * The Generator on an event store: encodes and checks, then hands over.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import * as Event from "../Event.js"
import * as EventStreamError from "../EventStreamError.js"
import * as CurrentTrace from "../internal/trace.js"
import type { Service as EventStore } from "../services/EventStore.js"
import { type Declared, event, type Service } from "../services/Generator.js"
import * as GroupCommit from "../streams/GroupCommit.js"

/** A group commit takes at most this many events, and this many bytes of payload unless one caller brings more. */
const maxBatchEvents = 1000
const maxBatchBytes = 1024 * 1024

/** What it stands on: a database, or a server that has one. */
export type Host = Pick<EventStore, "append" | "emit" | "outside" | "statement" | "transaction">

export const make = (
  store: Host,
  options: { readonly maxDataBytes: number }
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { maxDataBytes } = options

    const encode = (
      { data, options, type }: Declared,
      trace: CurrentTrace.Trace | undefined
    ): Either.Either<Event.NewEvent, EventStreamError.InvalidEvent> =>
      Event.make(type, data, { ...options, maxDataBytes, ...(trace === undefined ? {} : { trace }) })

    const encodeAll = (
      events: ReadonlyArray<Declared>
    ): Effect.Effect<ReadonlyArray<Event.NewEvent>, EventStreamError.InvalidEvent> =>
      Effect.flatMap(CurrentTrace.current, (trace) => Either.all(events.map((e) => encode(e, trace))))

    const write = yield* GroupCommit.make<Event.NewEvent, bigint, AppendError>({
      write: store.append,
      size: (event) => event.data.length,
      maxItems: maxBatchEvents,
      maxSize: maxBatchBytes,
      splittable: (error) => error._tag === "StoreError" && !error.retryable,
      errorFor: (error, events) =>
        error._tag === "OutcomeUnknown"
          ? new EventStreamError.OutcomeUnknown({ uids: events.map(({ uid }) => uid), cause: error.cause })
          : error,
      closed: () =>
        new EventStreamError.StoreError({
          operation: "add",
          retryable: false,
          reason: "other",
          cause: new Error("the layer of this Generator is closed")
        })
    })

    const emitAll: Service["emitAll"] = (events) =>
      Effect.flatMap(encodeAll(events), (encoded) => Effect.as(store.emit(encoded), encoded.map(({ uid }) => uid)))

    const add = (events: Effect.Effect<ReadonlyArray<Event.NewEvent>, EventStreamError.InvalidEvent>) =>
      store.outside(
        "add",
        Effect.flatMap(
          events,
          (encoded) =>
            encoded.length === 0 ? Effect.succeed([]) : write(encoded) as Effect.Effect<ReadonlyArray<any>, AppendError>
        )
      )
    const addAll: Service["addAll"] = (events) => add(encodeAll(events))

    return {
      emit: (type, data, options) =>
        Effect.flatMap(
          CurrentTrace.current,
          (trace): ReturnType<Service["emit"]> => {
            const encoded = encode({ type, data, options }, trace)
            return Either.isLeft(encoded)
              ? Effect.fail(encoded.left)
              : Effect.as(store.emit([encoded.right]), encoded.right.uid)
          }
        ),
      emitAll,
      transaction: (effect, options) => {
        const once = store.transaction(effect, { isolation: options?.isolation })
        return options?.retry === undefined
          ? once
          : Effect.retry(once, { schedule: options.retry, while: EventStreamError.isRetryable })
      },
      add: (type, data, options) => Effect.map(addAll([event(type, data, options)]), ([id]) => id!),
      addAll,
      append: (events) => add(Either.all(events.map((event) => Event.check(event, { maxDataBytes })))),
      statement: (events) =>
        Effect.map(encodeAll(events), (encoded) => ({
          ...store.statement(encoded),
          uids: encoded.map(({ uid }) => uid)
        }))
    }
  })

type AppendError = EventStreamError.StoreError | EventStreamError.OutcomeUnknown
