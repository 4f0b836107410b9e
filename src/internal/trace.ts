/**
 * The trace that an event is emitted in, in W3C form, if somebody traces: spans of Effect's own in-memory tracer are
 * exported by nobody and are not worth 55 bytes an event.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

export interface Trace {
  readonly traceparent: string
}

const nativeSpan = Object.getPrototypeOf(Effect.runSync(Effect.makeSpan("probe")))

export const current: Effect.Effect<Trace | undefined> = Effect.map(
  Effect.serviceOption(Tracer.ParentSpan),
  (span) =>
    Option.isNone(span) || Object.getPrototypeOf(span.value) === nativeSpan
      ? undefined
      : { traceparent: `00-${span.value.traceId}-${span.value.spanId}-${span.value.sampled ? "01" : "00"}` }
)
