import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { common } from "../arguments.js"
import * as Database from "../database.js"
import * as Output from "../output.js"

export const restored = Command.make(
  "restored",
  common,
  (options) =>
    Database.withStream(({ health }) =>
      Effect.flatMap(health.restored, ({ generation, head }) =>
        Output.either(
          options,
          { generation, head },
          `Generation ${generation} begins: ids go on after ${head}`
        ))
    )
).pipe(
  Command.withDescription(
    "Once after the database was put back in time, before anybody emits: no lost id is given again"
  )
)
