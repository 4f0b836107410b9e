/**
 * The health of a stream on its event store and, where there is one, its history.
 *
 * Every look ends within `patience`, whatever the network does: who probes waits for an answer, not for a database.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { StoreError } from "../EventStreamError.js"
import type { Service as EventStore, Vitals as Looked } from "../services/EventStore.js"
import type { Limits, Service, Vitals } from "../services/Health.js"
import type { Service as HistoryStore } from "../services/HistoryStore.js"
import { actor, toInfo } from "./Consumers.js"
import * as Diagnosis from "./diagnosis.js"

const defaults = { unsequenced: "30 seconds", unacknowledged: "10 minutes" } as const

const patience = "5 seconds"

/** Longer than the longest pause of an idle sequencer. */
const secondLook = "1500 millis"

const answered = (operation: string) => <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | StoreError> =>
  Effect.timeoutFail(Effect.disconnect(Effect.interruptible(effect)), {
    duration: patience,
    onTimeout: () =>
      new StoreError({
        operation,
        reason: "timeout",
        retryable: true,
        cause: new Error(`the database has not answered within ${patience}`)
      })
  })

export const make = (
  store: EventStore,
  options: { readonly history?: Pick<HistoryStore, "last"> | undefined } = {}
): Service => {
  const { history } = options
  const vitalsNow = answered("vitals")(store.vitals)

  /** The look, how far our clock is ahead of the database's, and how far off that may be. */
  const look = Effect.gen(function*() {
    const before = yield* Clock.currentTimeMillis
    const looked = yield* vitalsNow
    const doubt = (yield* Clock.currentTimeMillis) - before
    return { looked, skew: Math.round(before + doubt / 2 - looked.now), doubt: doubt / 2 }
  })

  /**
   * An event of a long transaction is old when it is committed, and nobody is to blame: one that is too old is looked at
   * again when it should have its id.
   */
  const patient = (first: Looked, limit: number) => {
    const age = Diagnosis.unsequencedFor(first)
    return age === undefined || age < limit
      ? Effect.succeed(first)
      : Effect.delay(vitalsNow, secondLook)
  }

  const consumers = answered("consumers")(store.consumers)

  const checked = (first: Looked, limits: Limits | undefined) =>
    Effect.gen(function*() {
      const unsequenced = Duration.toMillis(limits?.unsequenced ?? defaults.unsequenced)
      const unacknowledged = Duration.toMillis(limits?.unacknowledged ?? defaults.unacknowledged)
      const rows = yield* consumers
      const considered = Diagnosis.considered(rows, limits?.except ?? [])
      return {
        rows,
        considered,
        findings: [
          Diagnosis.schema(first),
          Diagnosis.sequencer(yield* patient(first, unsequenced), unsequenced),
          ...considered.map((row) => Diagnosis.consumer(row, unacknowledged))
        ]
      }
    })

  const archived = ({ generation }: Looked, { last }: Pick<HistoryStore, "last">): Effect.Effect<Diagnosis.Archived> =>
    answered("history")(Effect.all({ last: last(), ofGeneration: last(generation) })).pipe(
      Effect.map((read) => ({ _tag: "Read" as const, ...read })),
      Effect.catchAll(({ message }) => Effect.succeed({ _tag: "Unreachable" as const, why: message }))
    )

  return {
    live: store.outside(
      "live",
      Effect.asVoid(answered("live")(store.look({ ident: undefined, after: 0n, window: 0 })))
    ),

    ready: (limits) =>
      store.outside(
        "ready",
        Effect.gen(function*() {
          const { findings } = yield* checked(yield* vitalsNow, limits)
          return findings.filter(({ level }) => level === "problem")
        })
      ),

    vitals: store.outside(
      "vitals",
      Effect.gen(function*() {
        const { looked, skew } = yield* look
        return {
          stream: store.stream,
          database: { kind: looked.kind, version: looked.version },
          schemaVersion: looked.schemaVersion,
          generation: looked.generation,
          now: new Date(looked.now),
          clockSkew: skew,
          head: looked.head,
          discardedTo: looked.discardedTo,
          unsequenced: {
            count: looked.unsequenced.count,
            oldest: looked.unsequenced.oldest === undefined ? undefined : new Date(looked.unsequenced.oldest)
          },
          consumers: (yield* consumers).map(toInfo)
        } satisfies Vitals
      })
    ),

    diagnose: (limits) =>
      store.outside(
        "diagnose",
        Effect.gen(function*() {
          const { doubt, looked, skew } = yield* look
          const { considered, findings, rows } = yield* checked(looked, limits)
          return [
            ...findings,
            ...Diagnosis.deadLetters(considered),
            ...Diagnosis.settings(yield* answered("settings")(store.settings)),
            Diagnosis.clock(skew, doubt),
            ...Diagnosis.leases(looked, rows),
            Diagnosis.archiving(rows, yield* answered("retention")(store.retention)),
            ...(history === undefined ? [] : Diagnosis.history(looked, yield* archived(looked, history)))
          ]
        })
      ),

    restored: store.outside(
      "restored",
      Effect.gen(function*() {
        const last = history === undefined ? undefined : yield* history.last()
        return yield* store.restored(yield* actor, last ?? { generation: 0, id: 0n })
      })
    )
  }
}
