import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { common } from "../arguments.js"
import { Usage } from "../CliError.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import type { Progress } from "../../services/Archiver.js"
import * as Bar from "./progress.js"

const sentence = ({ archived, behind, rate, remaining, upTo }: Progress): string => {
  const eta = remaining === undefined || behind === 0
    ? ""
    : `, ${Duration.format(Duration.seconds(Math.ceil(remaining / 1000)))} to go`
  const speed = behind === 0 ? "" : `, ${Math.round(rate)} a second`
  return `${archived} archived, up to ${upTo ?? "nothing"}, ${behind} left${speed}${eta}`
}

export const archive = Command.make("archive", {
  ...common,
  once: Options.boolean("once").pipe(Options.withDescription("Archives what is there now, and ends"))
}, (options) =>
  Database.withStream(({ archive, core: { source } }) =>
    Effect.gen(function*() {
      if (archive === undefined) {
        return yield* new Usage({ message: "EVT_HISTORY_URL is not set: the database that events are archived to" })
      }
      const { archiver, history } = archive
      const bar = yield* Bar.make
      if (!options.once) {
        return yield* archiver.progress().pipe(
          Stream.runForEach((progress) =>
            options.json
              ? Output.json(progress)
              : bar.show(progress.archived, progress.archived + progress.behind, sentence(progress))
          ),
          Effect.ensuring(bar.end)
        )
      }
      // another process may be the one that does it: the history says how far they are
      const start = (yield* history.last)?.id ?? 0n
      const look = Effect.gen(function*() {
        const { head } = yield* source.look
        const last = (yield* history.last)?.id ?? 0n
        const total = Number(head - start)
        yield* bar.show(Number(last - start), total, `${last - start} of ${total} archived`)
      })
      const progress = yield* Bar.during(archiver.once(), bar, look)
      yield* Output.either(options, progress, sentence(progress))
    }), { sequencer: "on" })).pipe(
    Command.withDescription("Copies events to the history (EVT_HISTORY_URL), until Ctrl-C unless --once")
  )
