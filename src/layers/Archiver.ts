/**
 * The archiver between a stream and a history: a consumer whose handler writes each batch into the history, compares both
 * sides, and then acknowledges. It is killed between those two at worst: the batch comes again, and changes nothing.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { finishingSoon } from "../internal/finishing.js"
import * as Metrics from "../internal/metrics.js"
import type { ArchiveError, Options, Progress, Service } from "../services/Archiver.js"
import type { Service as HistoryStore } from "../services/HistoryStore.js"
import * as Meter from "./archive/progress.js"
import * as Resume from "./archive/resume.js"
import type { Source } from "./archive/source.js"
import * as Verify from "./archive/verify.js"
import * as Write from "./archive/write.js"
import { reconnecting, within } from "./reader.js"
import { detached } from "./sql/Database.js"

const defaults = { limit: 1000 }
/** The end of the log is read again after so many milliseconds. */
const lookAgain = 500

type Batches = Stream.Stream<Progress, ArchiveError>

export const make = (source: Source, history: HistoryStore): Service => {
  const write = Write.make(source, history)

  const prepare = (options: Options = {}) =>
    Effect.gen(function*() {
      const limit = yield* within("limit", options.limit ?? defaults.limit, 1, 1000)
      const retry = reconnecting(options.retry)
      const meter = Meter.make(yield* Clock.currentTimeMillis)
      const resume = retry(Resume.make(source, history, write, limit))
      const measure = Effect.gen(function*() {
        const now = yield* Clock.currentTimeMillis
        if (now - meter.lookedAt < lookAgain && (meter.upTo ?? 0n) <= meter.head) return
        meter.head = (yield* source.look).head
        meter.lookedAt = now
      })
      return { limit, retry, resume, meter, measure, schedule: options.retry }
    })

  type Prepared = Effect.Effect.Success<ReturnType<typeof prepare>>

  /** As long as this one is the active archiver, and then again. */
  const batches = ({ limit, measure, meter, resume, retry, schedule }: Prepared): Batches => {
    const session = Stream.unwrap(Effect.sync(() => {
      let mine = false
      return Stream.mapEffect(source.subscribe({ limit, retry: schedule }), (delivery) =>
        Effect.gen(function*() {
          // what happened to the history while another one was active, or while this one waited
          if (!mine) yield* resume
          mine = true
          const { events } = delivery.batch
          const finished = finishingSoon(Effect.zipRight(write(events.map(({ row }) => row)), delivery.ack))
          yield* retry(finished).pipe(
            Effect.withSpan("archive", {
              kind: "consumer",
              attributes: {
                "messaging.operation.type": "process",
                "messaging.batch.message_count": events.length
              }
            })
          )
          meter.upTo = delivery.batch.upTo
          meter.add(events.length, yield* Clock.currentTimeMillis)
          yield* retry(measure)
          const progress = meter.progress()
          yield* Metrics.archivedTo(events.length, progress.behind)
          return progress
        }))
    }))
    return Stream.catchAll(session, (error): Batches =>
      error._tag === "ConsumerFenced" || error._tag === "ConsumerBusy"
        ? Stream.unwrap(Effect.as(
          Effect.logWarning(`${error.message}. Standing by`),
          batches({ limit, measure, meter, resume, retry, schedule })
        ))
        : Stream.fail(error))
  }

  /** What is wrong from the start is said at once, also by one that would only stand by. */
  const begin = (prepared: Prepared) =>
    Effect.gen(function*() {
      yield* prepared.resume
      prepared.meter.upTo = (yield* prepared.retry(history.last()))?.id
    })

  const progress: Service["progress"] = (options) =>
    Stream.unwrap(source.outside(
      "archive",
      Effect.gen(function*() {
        const prepared = yield* prepare(options)
        yield* begin(prepared)
        return batches(prepared)
      })
    ))

  const once: Service["once"] = (options) =>
    source.outside(
      "archive",
      Effect.gen(function*() {
        const prepared = yield* prepare(options)
        const { meter, retry } = prepared
        yield* retry(source.head)
        const head = yield* retry(source.last)
        yield* begin(prepared)
        // another one may be active, and do it
        const arrived = Effect.map(source.look, ({ cursor }) => cursor !== undefined && cursor >= head)
        if (!(yield* retry(arrived))) {
          yield* batches(prepared).pipe(
            Stream.takeUntil(({ upTo }) => upTo !== undefined && upTo >= head),
            Stream.interruptWhen(Effect.repeat(retry(arrived), {
              until: (yes) => yes,
              schedule: Schedule.spaced("200 millis")
            })),
            Stream.runDrain
          )
        }
        meter.upTo = (yield* retry(history.last()))?.id
        meter.head = (yield* retry(source.look)).head
        return meter.progress()
      })
    )

  return {
    run: (options) => Effect.zipRight(Stream.runDrain(progress(options)), Effect.never),
    progress,
    once,
    verify: source.outside("verify", Verify.make(source, history))
  }
}

/** Runs in the background until the scope closes. What it cannot go on after is said, and then it rests. */
export const background = (
  archiver: Service,
  options: Options
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.forkScoped(detached(
    Effect.catchAllCause(archiver.run(options), (cause) =>
      Cause.isInterruptedOnly(cause) ? Effect.void : Effect.logError("The archiver has stopped", cause))
  )))
