/**
 * Calling the handler: how a batch is cut into calls, and what one call, or all the attempts at it, come to.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Metrics from "../../internal/metrics.js"
import type { Settings } from "./settings.js"

/** An event of a batch, and its place there. */
export interface Item {
  readonly index: number
  readonly event: any
}

/** What the handler is called with at once; never empty, in the order of the batch. */
export type Call = ReadonlyArray<Item>

/** The handler gave up on a call. Without an attempt: the event could not be decoded. */
export class GaveUp {
  readonly _tag = "GaveUp"
  constructor(
    readonly call: Call,
    readonly attempts: number,
    readonly cause: Cause.Cause<unknown>
  ) {}
}

const longestError = 10_000

/** What is kept of a cause: every database can store it. */
export const errorText = (cause: Cause.Cause<unknown>): string =>
  Cause.pretty(cause).slice(0, longestError).replaceAll("\u0000", "\uFFFD").replace(
    /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g,
    "\uFFFD"
  )

export const itemsOf = (events: ReadonlyArray<any>): Call => events.map((event, index) => ({ index, event }))

/** One by one, or for a batch handler together; what cannot be decoded, or was erased, gets a call of its own. */
export const callsOf = <R>({ handler }: Settings<R>, items: Call): ReadonlyArray<Call> => {
  if (typeof handler === "function") return items.map((item) => [item])
  const calls: Array<Array<Item>> = []
  let open = false
  for (const item of items) {
    const decoded = item.event._tag !== "Undecodable" && !item.event.redacted
    if (open && decoded) calls[calls.length - 1]!.push(item)
    else calls.push([item])
    open = decoded
  }
  return calls
}

/** Those that must stay in order, together. Calls with many events do not run beside each other. */
export const lanesOf = <R>(
  { concurrency, handler }: Settings<R>,
  calls: ReadonlyArray<Call>
): ReadonlyArray<ReadonlyArray<Call>> => {
  if (concurrency === 1 || typeof handler !== "function") return [calls]
  const lanes = new Map<unknown, Array<Call>>()
  for (const call of calls) {
    const key = call[0]!.event.key ?? call
    const lane = lanes.get(key)
    if (lane === undefined) lanes.set(key, [call])
    else lane.push(call)
  }
  return [...lanes.values()]
}

const handle = <R>({ handler, timeLimit }: Settings<R>, call: Call, within: "here" | "apart") =>
  Effect.suspend(() => {
    const handled = Effect.suspend((): Effect.Effect<unknown, unknown, R> =>
      typeof handler === "function" ? handler(call[0]!.event) : handler.batch(call.map(({ event }) => event))
    )
    // a handler that cannot be interrupted is left behind, but not in a transaction
    return (within === "apart" ? Effect.disconnect(handled) : handled).pipe(
      Effect.timeoutFail({
        duration: timeLimit,
        onTimeout: () => new Error(`the handler took longer than ${Duration.format(timeLimit)}`)
      }),
      Effect.sandbox
    )
  })

/** Nothing is left of it to handle: as good as done. */
const erased = (call: Call): boolean => call[0]!.event.redacted

const undecodable = (call: Call): GaveUp | undefined => {
  const { event } = call[0]!
  return event._tag === "Undecodable" ? new GaveUp(call, 0, Cause.fail(new Error(event.issue))) : undefined
}

/** One attempt, in the transaction around it. */
export const attempt = <R>(settings: Settings<R>, call: Call): Effect.Effect<void, GaveUp, R> =>
  Effect.suspend(() => {
    if (erased(call)) return Effect.void
    const hopeless = undecodable(call)
    if (hopeless !== undefined) return Effect.fail(hopeless)
    return Effect.asVoid(Effect.mapError(handle(settings, call, "here"), (cause) => new GaveUp(call, 1, cause)))
  })

/** Calls the handler until it succeeds, or its schedule ends. */
export const attempts = <R>(settings: Settings<R>, call: Call, ident: string): Effect.Effect<void, GaveUp, R> =>
  Effect.suspend(() => {
    let made = 0
    if (erased(call)) return Effect.void
    const hopeless = undecodable(call)
    if (hopeless !== undefined) return Effect.fail(hopeless)
    const once = Effect.suspend(() => {
      made++
      return handle(settings, call, "apart")
    })
    return Effect.retry(once, { schedule: Schedule.tapOutput(settings.retry, () => Metrics.retried(ident)) }).pipe(
      Effect.asVoid,
      // a handler that interrupts itself has failed, too; when this fiber is interrupted nothing of this runs
      Effect.mapError((cause) => new GaveUp(call, made, cause))
    )
  })
