import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { HeldBack, Report } from "../../services/Discarder.js"
import { common, optional, optionalInteger } from "../arguments.js"
import { Usage } from "../CliError.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import * as Bar from "./progress.js"

const heldBy = (held: HeldBack): string => {
  switch (held._tag) {
    case "Consumer":
      return `${held.consumer} at ${held.cursor} since ${held.since.toISOString()}`
    case "Archive":
      return `archived up to ${held.archivedTo} only`
    case "Retained":
      return "retained"
    case "Nobody":
      return "nobody is registered, and --retain is not said"
  }
}

const sentence = ({ deleted, discardedTo, evicted, heldBack, left }: Report): string =>
  `${deleted} discarded, up to ${discardedTo ?? "nothing"}, ${left} left` +
  (heldBack.length === 0 ? "" : `: ${heldBack.map(heldBy).join("; ")}`) +
  (evicted.length === 0 ? "" : `; unregistered: ${evicted.join(", ")}`)

const durationOf = (option: string, text: string | undefined): Effect.Effect<Duration.Duration | undefined, Usage> => {
  if (text === undefined) return Effect.succeed(undefined)
  const found = Duration.decodeUnknown(text.trim())
  return Option.isSome(found)
    ? Effect.succeed(found.value)
    : Effect.fail(new Usage({ message: `${option} must be a duration like "10 minutes" or "0 millis", not ${text}` }))
}

export const discard = Command.make("discard", {
  ...common,
  once: Options.boolean("once").pipe(Options.withDescription("Deletes what may be deleted now, and ends")),
  retain: optional("retain", "Keeps events that are younger, like \"10 minutes\". Default: one minute"),
  retainEvents: optionalInteger("retain-events", "Keeps the newest so many"),
  evictAfter: optional("evict-after", "Unregisters consumers that have not moved for so long, like \"30 days\"")
}, (options) =>
  Effect.gen(function*() {
    const young = yield* durationOf("--retain", options.retain)
    const evictAfter = yield* durationOf("--evict-after", options.evictAfter)
    const settings = {
      ...(young === undefined && options.retainEvents === undefined
        ? {}
        : { retain: { for: young, events: options.retainEvents } }),
      ...(evictAfter === undefined ? {} : { stale: { evictAfter } })
    }
    yield* Database.withStream(({ core: { source }, discarder }) =>
      Effect.gen(function*() {
        const bar = yield* Bar.make
        const { discardedTo: start } = yield* source.retention
        const look = Effect.gen(function*() {
          const { discardedTo } = yield* source.retention
          const { head } = yield* source.look
          const total = Number(head - start)
          yield* bar.show(Number(discardedTo - start), total, `${discardedTo - start} of ${total} discarded`)
        })
        if (!options.once) return yield* Bar.during(discarder.run(settings), bar, look)
        const report = yield* Bar.during(discarder.once(settings), bar, look)
        yield* Output.either(options, report, sentence(report))
      })
    )
  })).pipe(Command.withDescription("Deletes what everybody has from the log, until Ctrl-C unless --once"))
