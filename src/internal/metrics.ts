/**
 * What is counted, and the span of a batch, by the names of OpenTelemetry's messaging conventions.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Tracer from "effect/Tracer"
import type { Meta } from "../Event.js"
import type { Where } from "../services/EventStore.js"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })

const consumed = counter("messaging.client.consumed.messages", "Events that a handler has finished")
const again = counter("evt.consumer.retries", "Calls of a handler that failed and are made again")
const dead = counter("evt.consumer.dead_letters", "Events that were given up and kept as dead letters")

const gauge = (name: string, description: string) => Metric.gauge(name, { description })

const lagEvents = gauge("evt.consumer.lag.events", "Events behind the end of the log as this process knows it")
const lagSeconds = gauge(
  "evt.consumer.lag.seconds",
  "Age of the last event that was read, by the database's time stamp"
)
const buffered = gauge("evt.tail.buffered", "Rows that the tail keeps in memory")
const wakeUps = counter("evt.wakeups", "Hints of commits: of this process, and of others")

const archived = counter("evt.archive.events", "Events that were written into the history and compared")
const archiveLag = gauge("evt.archive.lag.events", "Ids between the last archived event and the end of the log")

/** A batch was archived, and so many ids are left. */
export const archivedTo = (events: number, behind: number): Effect.Effect<void> =>
  Effect.zipRight(Metric.incrementBy(archived, events), Metric.set(archiveLag, behind))

const gone = counter("evt.discarder.discarded", "Events that were deleted because everybody had them")
const held = gauge("evt.discarder.held.seconds", "Age of the oldest event of the log, when the discarder looked last")

const count = (metric: Metric.Metric.Counter<number>, consumer: string, n: number): Effect.Effect<void> =>
  n === 0
    ? Effect.void
    : Metric.incrementBy(Metric.tagged(metric, "messaging.consumer.group.name", consumer), n)

export const delivered = (consumer: string, n: number) => count(consumed, consumer, n)
export const retried = (consumer: string) => count(again, consumer, 1)
export const deadLettered = (consumer: string, n: number) => count(dead, consumer, n)

const tagged = (metric: Metric.Metric.Gauge<number>, consumer: string, partition: number | undefined) => {
  const ofConsumer = Metric.tagged(metric, "messaging.consumer.group.name", consumer)
  return partition === undefined
    ? ofConsumer
    : Metric.tagged(ofConsumer, "messaging.destination.partition.id", String(partition))
}

/** A consumer, or a partition, has read an event, `behind` events before the end. */
export const lag = (consumer: string, behind: number, seconds: number, partition?: number): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.set(tagged(lagEvents, consumer, partition), behind),
    Metric.set(tagged(lagSeconds, consumer, partition), Math.max(0, seconds))
  )

const owned = gauge("evt.group.partitions", "Partitions of a consumer that this process owns")
const members = gauge("evt.group.members", "Members of a consumer's group as this process sees them")
const changes = counter("evt.group.rebalances", "Partitions that were taken, handed over or lost by this process")

/** A member owns so many partitions. */
export const owns = (consumer: string, partitions: number): Effect.Effect<void> =>
  Metric.set(tagged(owned, consumer, undefined), partitions)

export const sees = (consumer: string, n: number): Effect.Effect<void> =>
  Metric.set(tagged(members, consumer, undefined), n)

/** What becomes of a partition of a member. */
export type Rebalanced = "taken" | "handed over" | "lost"

/** What became of a partition, and the consumer that it is of. */
export const rebalanced = (consumer: string, what: Rebalanced): Effect.Effect<void> =>
  Metric.incrementBy(
    Metric.tagged(Metric.tagged(changes, "messaging.consumer.group.name", consumer), "kind", what),
    1
  )

export const tailKeeps = (rows: number): Effect.Effect<void> => Metric.set(buffered, rows)

export const discarded = (n: number): Effect.Effect<void> => n === 0 ? Effect.void : Metric.incrementBy(gone, n)
export const heldBack = (seconds: number): Effect.Effect<void> => Metric.set(held, Math.max(0, seconds))

const wakeUpOf = {
  here: Metric.tagged(wakeUps, "kind", "here"),
  elsewhere: Metric.tagged(wakeUps, "kind", "elsewhere")
}

/** For listeners, which are not effects. */
export const wokenUp = (where: Where): void => wakeUpOf[where].unsafeUpdate(1, [])

/** So many of a batch are linked: a span of a thousand links helps nobody. */
const mostLinks = 32

/** The span of the handling of a batch, linked to the transactions that emitted its events. */
export const processing =
  (consumer: string, events: ReadonlyArray<{ readonly meta: Meta }>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const links: Array<Tracer.SpanLink> = []
    for (const { meta } of events.slice(0, mostLinks)) {
      const [, traceId, spanId, flags] =
        /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(meta.traceparent ?? "") ?? []
      if (traceId === undefined || spanId === undefined) continue
      const sampled = (parseInt(flags!, 16) & 1) === 1
      links.push({ _tag: "SpanLink", span: Tracer.externalSpan({ traceId, spanId, sampled }), attributes: {} })
    }
    return Effect.withSpan(effect, `process ${consumer}`, {
      kind: "consumer",
      links,
      attributes: {
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": consumer,
        "messaging.batch.message_count": events.length
      }
    }) as Effect.Effect<A, E, R>
  }
