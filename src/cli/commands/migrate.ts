import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { common } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"

export const migrate = Command.make("migrate", common, (options) =>
  Effect.flatMap(
    Database.migrate,
    (migrated) => Output.either(options, { migrated }, `The tables are as they should be: ${migrated.join(", ")}`)
  )).pipe(Command.withDescription("Makes or updates the tables, those of the history too where EVT_HISTORY_URL is set"))
