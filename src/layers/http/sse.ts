/**
 * Server-Sent Events (HTML Living Standard 9.2): a source of events as the text of a response.
 *
 * Nothing is read before the text so far has been taken by the connection: a slow reader slows down its own source and
 * nobody else, and holds one page and one piece of text.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StoredEvent, Unknown } from "../../Event.js"
import type { Gap } from "../../services/Pusher.js"
import { type Failure, told } from "./problem.js"

export interface Source {
  /** Waits for what comes next; may be empty. Option.none: it is over. */
  readonly next: Effect.Effect<ReadonlyArray<Unknown | Gap>, Option.Option<Failure>>
  /** The id up to which `next` has given everything; 0 while it is not known. */
  readonly position: () => bigint
}

export interface Options {
  readonly json: (row: StoredEvent) => string
  readonly heartbeat: Duration.DurationInput
  /** Milliseconds after which a client whose connection is lost may come again. */
  readonly retry: number
  /** What is done when the connection takes nothing for so long. */
  readonly stalled: { readonly after: Duration.DurationInput; readonly cut: Effect.Effect<void> }
}

/** Characters of a piece, unless one event has more. */
const pieceLength = 64 * 1024

const encoder = new TextEncoder()

/** Without an id: who comes again gets from the log what was missed. */
const gapText = ({ missed, upTo }: Gap) => `event: gap\ndata: {"missed":${missed},"upTo":"${upTo}"}\n\n`

/** JSON has no line break outside of its white space, which `json` has replaced. */
const textOf = (json: Options["json"]) => (event: Unknown | Gap): string =>
  event._tag === "Gap" ? gapText(event) : `id: ${event.id}\nevent: ${event.type}\ndata: ${json(event.row)}\n\n`

const problemText = (failure: Failure) => `event: problem\ndata: ${JSON.stringify(told(failure))}\n\n`

/** An id without data is no event, but where the client resumes. */
const beat = (position: bigint) => position === 0n ? ":\n\n" : `:\nid: ${position}\n\n`

export const stream = (source: Source, options: Options): Stream.Stream<Uint8Array> => {
  const text = textOf(options.json)
  const heartbeat = Duration.toMillis(options.heartbeat)
  return Stream.unwrapScoped(Effect.gen(function*() {
    const scope = yield* Effect.scope
    let events: ReadonlyArray<Unknown | Gap> = []
    let at = 0
    /** Everything up to here has been sent. */
    let sent = source.position()
    let reading: Fiber.RuntimeFiber<ReadonlyArray<Unknown | Gap>, Option.Option<Failure>> | undefined
    let over = false
    /** Whether the connection has what it took last still to send. */
    let sending = false
    let asked = 0

    const piece = (): string => {
      let out = ""
      while (at < events.length && out.length < pieceLength) out += text(events[at++]!)
      return out
    }
    const take = (
      exit: Exit.Exit<ReadonlyArray<Unknown | Gap>, Option.Option<Failure>>
    ): Effect.Effect<string, Option.Option<never>> => {
      if (Exit.isSuccess(exit)) {
        events = exit.value
        at = 0
        return Effect.succeed(piece())
      }
      over = true
      const failure = Cause.failureOption(exit.cause)
      if (Option.isSome(failure)) {
        return Option.isSome(failure.value)
          ? Effect.succeed(problemText(failure.value.value))
          : Effect.fail(Option.none())
      }
      return Effect.zipRight(
        Cause.isInterruptedOnly(exit.cause) ? Effect.void : Effect.logError("events over HTTP", exit.cause),
        Effect.fail(Option.none())
      )
    }
    const next: Effect.Effect<string, Option.Option<never>> = Effect.gen(function*() {
      if (over) return yield* Effect.fail(Option.none())
      if (at < events.length) return piece()
      const until = (yield* Clock.currentTimeMillis) + heartbeat
      while (true) {
        if (reading === undefined) {
          sent = source.position()
          reading = yield* Effect.forkIn(Effect.interruptible(source.next), scope)
        }
        // pages of what is not wanted are no sign of life; one that is on its way is not given up for it
        const left = until - (yield* Clock.currentTimeMillis)
        const exit = left <= 0 ? Option.none() : yield* Effect.timeoutOption(Fiber.await(reading), left)
        if (Option.isNone(exit)) return beat(sent)
        reading = undefined
        const text = yield* take(exit.value)
        if (text !== "") return text
      }
    })
    const watch = Effect.gen(function*() {
      const before = asked
      yield* Effect.sleep(options.stalled.after)
      if (sending && asked === before) yield* options.stalled.cut
    })
    yield* Effect.forkIn(Effect.interruptible(Effect.forever(watch)), scope)
    const pull = Effect.suspend(() => {
      sending = false
      asked++
      return Effect.map(next, (text) => {
        sending = true
        return encoder.encode(text)
      })
    })
    return Stream.concat(
      Stream.make(encoder.encode(`retry: ${options.retry}\n${beat(sent)}`)),
      Stream.repeatEffectOption(pull)
    )
  }))
}
