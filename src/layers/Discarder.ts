/**
 * The Discarder on an event store: batches one after another, each a transaction of its own under the gate, with a rest
 * between them in which writers and others get their turn.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { InvalidOption, type StoreError } from "../EventStreamError.js"
import * as Metrics from "../internal/metrics.js"
import type { HeldBack, Options, Report, Service } from "../services/Discarder.js"
import type { Behind, Discard, Remaining, Service as EventStore } from "../services/EventStore.js"
import { toId, within } from "./reader.js"

const defaultLimit = 1000
const mostAtOnce = 100_000
const defaultKeep = Duration.minutes(1)
const defaultSchedule = Schedule.spaced("10 minutes")
/** Far beyond any use, far below what the clocks of the databases can subtract. */
const longest = Duration.days(36_500)

/**
 * The rest after a batch, in milliseconds. Where events were written in the meantime it is so long that four times as many
 * are discarded as are written, but at least four times as long as the batch took: writers share the CPU, or the lock of the
 * file, with us.
 */
const ahead = 4
const leastShare = 4
const longestRest = 100
const restWhileWriting = (
  batch: { readonly took: number; readonly deleted: number; readonly written: number },
  before: number
) =>
  Math.min(
    Math.max(((before + batch.took) * batch.deleted) / (ahead * batch.written) - batch.took, leastShare * batch.took),
    longestRest
  )
/**
 * While nobody seems to write: on SQLite another process still has to get in between, now and then; elsewhere nobody waits
 * for us.
 */
const restWhileQuiet = 1
const batchesAtAStretch = 4

/** The pauses of `run` while the database fails. */
const shortestPause = "250 millis"
const whileFailing = Schedule.union(Schedule.exponential(shortestPause), Schedule.spaced("1 minute"))

interface Settings extends Omit<Discard, "after" | "evict"> {
  readonly staleAfter: number | undefined
}

const age = (option: string, input: Duration.DurationInput, least: number): Either.Either<number, InvalidOption> => {
  const refuse = Either.left(
    new InvalidOption({
      option,
      value: String(input),
      expected: `a duration from ${least === 0 ? "0" : "1 millisecond"} to 36500 days`
    })
  )
  // decoding throws at what is none, and makes 0 of what is negative or no number
  return Either.flatMap(
    Either.try({ try: () => Duration.toMillis(Duration.decode(input)), catch: () => undefined }),
    (millis) => {
      const none = typeof input === "number" ? !(input >= 0) : typeof input === "string" && input.startsWith("-")
      return none || !(millis >= least) || millis > Duration.toMillis(longest)
        ? Either.left(undefined)
        : Either.right(Math.ceil(millis))
    }
  ).pipe(Either.orElse(() => refuse))
}

const settingsOf = (given: Options, archive: Archive): Either.Either<Settings, InvalidOption> =>
  Either.gen(function*() {
    const options = archive === "history" && (given.requireArchived ?? "auto") === "auto"
      ? { ...given, requireArchived: "always" as const }
      : given
    const { requireArchived = "auto", retain, stale = "warn" } = options
    if (!["auto", "always", "never"].includes(requireArchived)) {
      return yield* Either.left(
        new InvalidOption({
          option: "requireArchived",
          value: String(requireArchived),
          expected: `"auto", "always" or "never"`
        })
      )
    }
    if (stale !== "warn" && (typeof stale !== "object" || stale === null || stale.evictAfter === undefined)) {
      return yield* Either.left(
        new InvalidOption({ option: "stale", value: String(stale), expected: `"warn" or { evictAfter }` })
      )
    }
    const events = yield* within("retain.events", retain?.events ?? 0, 0, Number.MAX_SAFE_INTEGER)
    return {
      limit: yield* within("limitAtOnce", options.limitAtOnce ?? defaultLimit, 1, mostAtOnce),
      keepMillis: yield* age("retain.for", retain?.for ?? defaultKeep, 0),
      retain: retain?.for === undefined && retain?.events === undefined ? undefined : { events },
      requireArchived,
      staleAfter: stale === "warn" ? undefined : yield* age("stale.evictAfter", stale.evictAfter, 1)
    }
  })

/** What holds back the first event that is left. */
const heldBack = (found: Remaining, settings: Settings): ReadonlyArray<HeldBack> => {
  const { first } = found
  if (first === undefined) return []
  const required = settings.requireArchived === "always" ||
    (settings.requireArchived === "auto" && found.archiveRequired)
  const held: Array<HeldBack> = found.furthestBehind
    .filter(({ cursor }) => cursor < first.id)
    .map(({ cursor, ident, since }) => ({ _tag: "Consumer", consumer: ident, cursor, since: new Date(since) }))
  if (found.registered === 0 && settings.retain === undefined) held.push({ _tag: "Nobody" })
  if (required && !found.archiverRegistered && found.archivedTo < first.id) {
    held.push({ _tag: "Archive", archivedTo: found.archivedTo })
  }
  const newest = settings.retain?.events ?? 0
  const young = settings.keepMillis > 0 && first.ts > found.now - settings.keepMillis
  if (young || (newest > 0 && first.id > found.head - BigInt(newest))) held.push({ _tag: "Retained" })
  return held
}

const seconds = (found: Remaining): number => found.first === undefined ? 0 : (found.now - found.first.ts) / 1000

/** Deletes, batch by batch, up to the end of the log as it was at the first. */
const discard = (store: EventStore, settings: Settings): Effect.Effect<Report, StoreError> =>
  Effect.gen(function*() {
    let { discardedTo: after } = yield* store.retention
    let evict: ReadonlyArray<Behind> = []
    let end: bigint | undefined
    let head: bigint | undefined
    let rest = 0
    let batches = 0
    let deleted = 0
    const evicted: Array<string> = []
    while (true) {
      const [took, found] = yield* Effect.timed(store.discard({ ...settings, after, evict }))
      deleted += found.deleted
      yield* Metrics.discarded(found.deleted)
      for (const ident of found.evicted) {
        evicted.push(ident)
        const { cursor, since } = evict.find((one) => one.ident === ident)!
        yield* Effect.logWarning(
          `${ident} was unregistered: it stood at event ${cursor} since ${new Date(since).toISOString()}`
        )
      }
      after = found.discardedTo
      end ??= found.head
      evict = []
      // as long as batches are full nobody asks who holds the rest back
      if (found.deleted < settings.limit || after >= end) {
        const left = yield* store.remaining(settings.staleAfter)
        const held = heldBack(left, settings)
        evict = left.stale
        if (evict.length === 0 && (left.first === undefined || after >= end || held.length > 0)) {
          yield* Metrics.heldBack(seconds(left))
          return { deleted, discardedTo: toId(after), left: Number(left.head - after), heldBack: held, evicted }
        }
      }
      const written = head === undefined ? 0 : Number(found.head - head)
      head = found.head
      batches++
      if (written > 0) {
        rest = restWhileWriting({ took: Duration.toMillis(took), deleted: found.deleted, written }, rest)
      } else rest = !store.sequenced && batches % batchesAtAStretch === 0 ? restWhileQuiet : 0
      yield* rest > 0 ? Effect.sleep(rest) : Effect.yieldNow()
    }
  })

/** Who is to be told of: what is retained on purpose is no news. */
const nameOf = (held: HeldBack): string | undefined => {
  switch (held._tag) {
    case "Consumer":
      return held.consumer
    case "Archive":
      return "the archive"
    case "Nobody":
      return "nobody"
    case "Retained":
      return undefined
  }
}

const sentence = (held: HeldBack): string => {
  switch (held._tag) {
    case "Consumer":
      return `${held.consumer} has not moved its cursor (${held.cursor}) since ${held.since.toISOString()}`
    case "Archive":
      return `they are archived up to ${held.archivedTo} only`
    case "Nobody":
      return "nobody is registered, and retain is not given"
    case "Retained":
      return "they are retained"
  }
}

/** Says who holds events back, once for each change. */
const telling = (): (report: Report) => Effect.Effect<void> => {
  let told = ""
  return ({ heldBack, left }) =>
    Effect.suspend(() => {
      const names = heldBack.map(nameOf).filter((name) => name !== undefined).join(", ")
      if (names === told) return Effect.void
      told = names
      return names === ""
        ? Effect.logInfo("Nobody holds back events any more")
        : Effect.logWarning(`${left} events cannot be discarded: ${heldBack.map(sentence).join("; ")}`)
    })
}

const forever = (store: EventStore, settings: Settings, options: Options): Effect.Effect<never> =>
  Effect.suspend(() => {
    const tell = telling()
    let failing = false
    const pass = Effect.gen(function*() {
      const report = yield* discard(store, settings)
      if (failing) yield* Effect.logInfo("The discarder works again")
      failing = false
      yield* tell(report)
    })
    const surviving = Effect.sandbox(pass).pipe(
      Effect.tapError((cause) => {
        const said = failing
        failing = true
        return said ? Effect.void : Effect.logWarning("The discarder cannot work, it will try again", cause)
      }),
      Effect.retry({ while: (cause) => !Cause.isInterruptedOnly(cause), schedule: whileFailing }),
      Effect.catchAll(() => Effect.interrupt)
    )
    // a schedule that ends means: not again
    return Effect.zipRight(
      Effect.repeat(surviving, (options.schedule ?? defaultSchedule) as Schedule.Schedule<unknown>),
      Effect.never
    )
  })

/** With a history nothing goes that is not in it, also before its archiver has registered. */
export type Archive = "history" | "none"

export const make = (store: EventStore, archive: Archive): Service => {
  const run: Service["run"] = (options = {}) =>
    Effect.catchTag(
      store.outside(
        "Discarder.run",
        Effect.flatMap(settingsOf(options, archive), (settings) => forever(store, settings, options))
      ),
      // a foreign connection around the caller could not say whose it is: asked again
      "StoreError",
      () => Effect.delay(run(options), shortestPause)
    )
  return {
    once: (options = {}) =>
      store.outside(
        "Discarder.once",
        Effect.flatMap(settingsOf(options, archive), (settings) => discard(store, settings))
      ),
    run
  }
}

/** Runs in the background until the scope closes. Survives every failure of the database. */
export const background = (
  store: EventStore,
  options: Options,
  archive: Archive
): Effect.Effect<void, InvalidOption, Scope.Scope> =>
  Effect.flatMap(
    settingsOf(options, archive),
    (settings) => Effect.asVoid(Effect.forkScoped(forever(store, settings, options)))
  )
