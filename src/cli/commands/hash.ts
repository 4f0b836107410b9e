import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Prompt from "@effect/cli/Prompt"
import type * as Terminal from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { text as textOf } from "node:stream/consumers"
import * as Access from "../../access.js"
import { common } from "../arguments.js"
import { Usage } from "../CliError.js"
import * as Output from "../output.js"

/** Its last line break is not part of it: `echo` and editors write one. */
const piped = Effect.map(
  Effect.tryPromise({
    try: () => textOf(process.stdin),
    catch: () => new Usage({ message: "standard input cannot be read" })
  }),
  (text) => text.replace(/\r?\n$/, "")
)

const asked = Effect.map(Prompt.run(Prompt.password({ message: "Password" })), Redacted.value)

const password: Effect.Effect<string, Usage | Terminal.QuitException, Prompt.Prompt.Environment> = Effect.if(
  Effect.sync(() => process.stdin.isTTY === true),
  { onTrue: () => asked, onFalse: () => piped }
)

export const hash = Command.make("hash", {
  ...common,
  token: Options.boolean("token").pipe(Options.withDescription("Makes a new token, and its hash: show it once"))
}, (options) =>
  Effect.gen(function*() {
    if (options.token) {
      const { hash, token } = yield* Access.makeToken
      return yield* Output.either(options, { token, hash }, `token  ${token}\nhash   ${hash}`)
    }
    const secret = yield* password
    if (secret === "" || /[\r\n]/.test(secret)) {
      return yield* new Usage({ message: "give one password, on one line of standard input" })
    }
    const hash = yield* Access.hashPassword(secret)
    yield* Output.either(options, { hash }, hash)
  })).pipe(Command.withDescription("The hash of a password from standard input, for the accounts of evt serve"))
