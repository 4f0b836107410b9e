/**
 * What is counted, and the span of a batch, by the names of OpenTelemetry's messaging conventions.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Tracer from "effect/Tracer"
import type { Meta } from "../Event.js"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })

const consumed = counter("messaging.client.consumed.messages", "Events that a handler has finished")
const again = counter("evt.consumer.retries", "Calls of a handler that failed and are made again")
const dead = counter("evt.consumer.dead_letters", "Events that were given up and kept as dead letters")

const count = (metric: Metric.Metric.Counter<number>, consumer: string, n: number): Effect.Effect<void> =>
  n === 0
    ? Effect.void
    : Metric.incrementBy(Metric.tagged(metric, "messaging.consumer.group.name", consumer), n)

export const delivered = (consumer: string, n: number) => count(consumed, consumer, n)
export const retried = (consumer: string) => count(again, consumer, 1)
export const deadLettered = (consumer: string, n: number) => count(dead, consumer, n)

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
