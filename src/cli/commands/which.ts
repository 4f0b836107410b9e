/** Which events, by `--key` or `--id`. */
import * as Effect from "effect/Effect"
import { Usage } from "../CliError.js"
import { optional } from "../arguments.js"
import { listOf } from "../../internal/said.js"

export const which = {
  key: optional("key", "Those of this event key"),
  ids: optional("id", "Those with these ids, separated by commas")
}

export interface Given {
  readonly key: string | undefined
  readonly ids: string | undefined
}

type Chosen = { readonly key: string } | { readonly ids: ReadonlyArray<string> }

/** Undefined where neither is said. */
export const chosen = ({ ids, key }: Given): Effect.Effect<Chosen | undefined, Usage> =>
  key !== undefined && ids !== undefined
    ? Effect.fail(new Usage({ message: "give --key or --id, not both" }))
    : Effect.succeed(key !== undefined ? { key } : ids !== undefined ? { ids: listOf(ids)! } : undefined)
