/** What the commands take from their environment. */
import * as Effect from "effect/Effect"
import { Unreachable } from "./CliError.js"

export const variable = (name: string): string | undefined => process.env[name]?.trim() || undefined

/** Loads what only some commands need, which may not be installed. */
export const load = <A>(module: () => Promise<A>, packages: string): Effect.Effect<A, Unreachable> =>
  Effect.tryPromise({
    try: module,
    catch: (cause) => new Unreachable({ message: `cannot load ${packages}: is it installed?`, cause })
  })
