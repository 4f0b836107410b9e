/**
 * The accounts of `evt serve`: a JSON file, a list of
 * `{"user", "password"?, "token"?, "macKey"?, "rights"?}`, hashes by `evt hash`, `macKey` in base64. What it says counts
 * for who comes after it was read.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { Access, type Account, accounts } from "../../access.js"
import type { Service } from "../../services/Access.js"
import { Usage } from "../CliError.js"

const right = Schema.Union(Schema.Boolean, Schema.Literal("live"))

const File = Schema.parseJson(Schema.Array(Schema.Struct({
  user: Schema.String,
  password: Schema.optional(Schema.String),
  token: Schema.optional(Schema.String),
  macKey: Schema.optional(Schema.Redacted(Schema.Uint8ArrayFromBase64)),
  rights: Schema.optional(Schema.Struct({
    emit: Schema.optional(Schema.Union(Schema.Boolean, Schema.Array(Schema.String))),
    poll: Schema.optional(right),
    push: Schema.optional(right),
    administer: Schema.optional(Schema.Boolean)
  }))
})))

const decode = Schema.decodeUnknown(File, { onExcessProperty: "error" })

/** What was found is not said: it may be a secret in the wrong place. */
const wrong = (file: string, error: ParseResult.ParseError) => {
  const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
  const at = issue!.path.map((part) => typeof part === "number" ? `[${part}]` : `.${String(part)}`).join("")
  const what = /^(is missing|is unexpected)/.exec(issue!.message)?.[0] ?? "is not what is needed there"
  return new Usage({
    message: at === "" ? `${file} is no JSON list of accounts` : `${file}: ${at.replace(/^\./, "")} ${what}`
  })
}

const read = (file: string): Effect.Effect<{ readonly service: Service; readonly count: number }, Usage> =>
  Effect.gen(function*() {
    const text = yield* Effect.try({
      try: () => Fs.readFileSync(file, "utf8"),
      catch: (error) => new Usage({ message: `cannot read the accounts: ${(error as Error).message}` })
    })
    const list = yield* Effect.mapError(decode(text), (error) => wrong(file, error))
    if (list.length === 0) return yield* new Usage({ message: `${file} has no account` })
    const service = yield* Effect.provide(Access, accounts(list as ReadonlyArray<Account>)).pipe(
      Effect.mapError((error) => new Usage({ message: `${file}: ${error.message}` }))
    )
    return { service, count: list.length }
  })

/** The accounts of a file, read again at SIGHUP for as long as the scope: what cannot be read then changes nothing. */
export const ofFile = (
  file: string
): Effect.Effect<{ readonly layer: Layer.Layer<Access>; readonly count: number }, Usage, Scope.Scope> =>
  Effect.gen(function*() {
    const { count, service } = yield* read(file)
    let current = service
    const again = Effect.matchEffect(read(file), {
      onFailure: ({ message }) => Effect.logWarning(`the accounts stay as they are: ${message}`),
      onSuccess: ({ count, service }) => {
        current = service
        return Effect.log(`${count} accounts of ${file} from now on`)
      }
    })
    const runtime = yield* Effect.runtime<never>()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const listener = () => void Effect.runFork(Effect.provide(again, runtime))
        process.on("SIGHUP", listener)
        return listener
      }),
      (listener) => Effect.sync(() => process.off("SIGHUP", listener))
    )
    const layer = Layer.succeed(Access, {
      authenticate: (credentials) => Effect.suspend(() => current.authenticate(credentials))
    })
    return { count, layer }
  })
