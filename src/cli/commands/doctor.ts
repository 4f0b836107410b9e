import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import type { Finding } from "../../services/Health.js"
import { common } from "../arguments.js"
import { Problems, Usage } from "../CliError.js"
import * as Database from "../database.js"
import * as Output from "../output.js"
import type { Colour, Column } from "../table.js"

const colours: Record<Finding["level"], Colour> = { ok: "green", warning: "yellow", problem: "red" }

const columns: ReadonlyArray<Column<Finding>> = [
  { title: "CHECK", cell: ({ check }) => check },
  { title: "LEVEL", cell: ({ level }) => level, colour: ({ level }) => colours[level] },
  { title: "FOUND", cell: ({ found }) => found }
]

/** What is not well is said in full, whatever room the table has. */
const report = (findings: ReadonlyArray<Finding>): string =>
  [
    Output.table(columns, findings),
    ...findings.filter(({ level }) => level !== "ok").map(({ advice, found, level }) =>
      `\n${level}: ${found}${advice === "" ? "" : `\n  ${advice}`}`
    )
  ].join("\n")

export const doctor = Command.make("doctor", {
  ...common,
  verify: Options.boolean("verify").pipe(
    Options.withDescription("Also compares every archived event of the log with the history, byte for byte")
  )
}, (options) =>
  Database.withStream(({ archive, health }) =>
    Effect.gen(function*() {
      const findings = yield* health.diagnose()
      if (options.verify && archive === undefined) {
        return yield* new Usage({ message: "--verify needs a history: set EVT_HISTORY_URL" })
      }
      const verified = options.verify && archive !== undefined ? yield* archive.archiver.verify : undefined
      yield* Output.either(
        options,
        { findings, verified },
        report(findings) + (verified === undefined ? "" : `\n${verified} events are the same in the history`)
      )
      const problems = findings.filter(({ level }) => level === "problem").length
      if (problems > 0) return yield* new Problems({ message: `${problems} problem${problems === 1 ? "" : "s"} found` })
    })
  )).pipe(Command.withDescription("Checks what can be checked from outside, and says what to do"))
