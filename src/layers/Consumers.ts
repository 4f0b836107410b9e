/**
 * The administration of consumers on an event store.
 */
import * as Effect from "effect/Effect"
import * as Consumer from "../Consumer.js"
import * as EventId from "../EventId.js"
import { EventsDiscarded, InvalidOption, NotRegistered } from "../EventStreamError.js"
import { Actor, type AuditEntry, type Info, type PartitionInfo, type Service } from "../services/Consumers.js"
import type { ConsumerRow, Reset, Service as EventStore } from "../services/EventStore.js"
import type { Redaction, Service as HistoryStore } from "../services/HistoryStore.js"
import { toDeadLetter } from "./deadLetter.js"
import { checkPartitions } from "./groups/layout.js"
import { identOf, notAhead, type Reader, select, startOf, toId } from "./reader.js"
import { chosen, idsOf, keyOf, refuse } from "./which.js"

const longestReason = 1000

const longestActor = 255

/** Who does it, as it can be stored. */
export const actor = Effect.map(Actor, (name) => name.replaceAll("\u0000", "").slice(0, longestActor))

/** A consumer's row as a person reads it. */
export const toInfo = (row: ConsumerRow): Info => {
  const colon = row.ident.indexOf(":")
  const lagOf = ({ cursor, waitingSince }: Pick<ConsumerRow, "cursor" | "waitingSince">): Info["lag"] => ({
    // ids that were left out at the end are no events
    events: waitingSince === undefined || row.head < cursor ? 0 : Number(row.head - cursor),
    seconds: waitingSince === undefined ? 0 : Math.max(0, (row.now - waitingSince) / 1000)
  })
  const partitions = row.partitions.map(({ cursor, lease, number, waitingSince }): PartitionInfo => ({
    number,
    cursor: toId(cursor),
    lag: lagOf({ cursor, waitingSince }),
    owner: lease === undefined || lease.expiresIn <= 0
      ? undefined
      : { member: lease.owner, expiresIn: lease.expiresIn }
  }))
  const isActive = row.lease !== undefined || partitions.some(({ owner }) => owner !== undefined)
  return {
    consumer: row.ident,
    user: row.ident.slice(0, colon),
    component: row.ident.slice(colon + 1),
    cursor: toId(row.cursor),
    lag: lagOf(row),
    state: row.paused !== undefined ? "paused" : isActive ? "active" : "idle",
    paused: row.paused,
    lease: row.lease,
    partitions: partitions.length === 0 ? undefined : partitions,
    exclusive: row.exclusive,
    deadLetters: row.deadLetters,
    parked: row.parked,
    registeredAt: new Date(row.registeredAt),
    movedAt: new Date(row.movedAt)
  }
}

export const make = (store: EventStore, reader: Reader, history: HistoryStore | undefined): Service => {
  const named = <A, E, R>(
    operation: string,
    consumer: Consumer.Consumer,
    f: (ident: string) => Effect.Effect<A, E, R>
  ) => store.outside(operation, Effect.flatMap(identOf(operation, consumer), f))

  const isRegistered = (ident: string) =>
    Effect.flatMap(
      store.look({ ident, after: 0n, window: 0 }),
      ({ cursor }) => cursor === undefined ? Effect.fail(new NotRegistered({ consumer: ident })) : Effect.void
    )

  const list: Service["list"] = store.outside("list", Effect.map(store.consumers, (rows) => rows.map(toInfo)))

  const reset: Service["reset"] = (consumer, to) =>
    named("reset", consumer, (ident) =>
      Effect.gen(function*() {
        const start = yield* startOf(to)
        const target = typeof start === "object" && "after" in start ? start.after : undefined
        if (target !== undefined) {
          yield* notAhead(ident, target, yield* store.look({ ident: undefined, after: 0n, window: 0 }))
        }
        const detail = JSON.stringify(to, (_, value) => typeof value === "bigint" ? value.toString() : value)
        const result = yield* store.reset({ ident, to: start, actor: yield* actor, detail })
        return yield* afterReset(ident, target, result)
      }))

  const afterReset = (ident: string, target: bigint | undefined, result: Reset) => {
    switch (result._tag) {
      case "Reset":
        return Effect.succeed(toId(result.cursor))
      case "NotRegistered":
        return Effect.fail(new NotRegistered({ consumer: ident }))
      case "Discarded":
        return Effect.fail(
          new EventsDiscarded({ consumer: ident, after: target ?? 0n, discardedTo: result.discardedTo })
        )
      case "Forward":
        return Effect.fail(
          new InvalidOption({
            option: "to",
            value: target === undefined ? "a later place" : target.toString(),
            expected: `not after ${result.cursor}, where ${ident} is: what an archiver skips would count as archived`
          })
        )
    }
  }

  const remove: Service["remove"] = (consumer, options) =>
    named("remove", consumer, (ident) =>
      Effect.gen(function*() {
        const deadLetters = options?.deadLetters ?? "keep"
        if (yield* store.remove({ ident, actor: yield* actor, deadLetters })) return
        return yield* new NotRegistered({ consumer: ident })
      }))

  const redact: Service["redact"] = (which) =>
    store.outside(
      "redact",
      Effect.gen(function*() {
        const redaction: Redaction = "key" in which
          ? { key: yield* keyOf(which.key) }
          : { ids: yield* idsOf(which.ids) }
        // what is committed must be in the log to be found
        yield* reader.sequenceAll
        const { deadLetters, log } = yield* store.redact(redaction, yield* actor)
        return { log, deadLetters, history: history === undefined ? undefined : yield* history.redact(redaction) }
      })
    )

  const audit: Service["audit"] = (options) =>
    store.outside(
      "audit",
      Effect.gen(function*() {
        const ident = options?.consumer === undefined ? undefined : yield* Consumer.ident(options.consumer)
        const limit = yield* reader.limit(options?.limit ?? 100)
        const rows = yield* store.audit({ ident, before: options?.before, limit })
        return rows.map((row): AuditEntry => ({
          id: row.id,
          at: new Date(row.at),
          actor: row.actor,
          action: row.action,
          consumer: row.ident,
          detail: JSON.parse(row.detail)
        }))
      })
    )

  const pause: Service["pause"] = (consumer, why = "paused") =>
    named("pause", consumer, (ident) =>
      Effect.gen(function*() {
        if (typeof why !== "string") return yield* refuse("why", why, "a text")
        const reason = why.replaceAll("\u0000", "").slice(0, longestReason)
        const result = yield* store.pause({ ident, why: reason, actor: yield* actor, epoch: undefined })
        if (result === "unregistered") return yield* new NotRegistered({ consumer: ident })
      }))

  const resume: Service["resume"] = (consumer) =>
    named("resume", consumer, (ident) =>
      Effect.flatMap(
        Effect.flatMap(actor, (actor) => store.resume(ident, actor)),
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
        return letters.map(toDeadLetter(decode))
      }))

  const redrive: Service["redrive"] = (consumer, which = "all") =>
    named(
      "redrive",
      consumer,
      (ident) =>
        Effect.gen(function*() {
          const of = yield* chosen(which)
          yield* isRegistered(ident)
          return yield* store.redrive({ ident, of }, yield* actor)
        })
    )

  const drop: Service["drop"] = (consumer, which) =>
    named("drop", consumer, (ident) =>
      Effect.gen(function*() {
        return yield* store.drop({ ident, of: yield* chosen(which) }, yield* actor)
      }))

  const repartition: Service["repartition"] = (consumer, partitions) =>
    named("repartition", consumer, (ident) =>
      Effect.gen(function*() {
        const n = partitions === "none" ? 1 : partitions
        yield* checkPartitions(ident, n, 1)
        const laid = yield* store.layOut({
          ident,
          partitions: n === 1 ? 0 : n,
          actor: yield* actor,
          epoch: undefined
        })
        return laid._tag === "LaidOut" ? toId(laid.cursor) : yield* new NotRegistered({ consumer: ident })
      }))

  return { list, reset, repartition, remove, redact, audit, pause, resume, deadLetters, redrive, drop }
}
