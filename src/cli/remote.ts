/**
 * A stream that another process serves (`evt serve`), by RPC:
 *
 * - `EVT_URL` (`--url`): `ws://…`, `wss://…`, `http://…` or `https://…`; without a path, `/rpc`
 * - `EVT_TOKEN`, or `EVT_USER` and `EVT_PASSWORD`: who asks
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Forbidden, type InvalidOption, LimitExceeded, StoreError, Unauthorized } from "../EventStreamError.js"
import type { Options } from "../layers/rpc/client/options.js"
import { Unreachable, Usage } from "./CliError.js"
import type { Services } from "./database.js"
import { load, variable } from "./environment.js"

const credentials: Effect.Effect<Options["credentials"], Usage> = Effect.suspend((): Effect.Effect<
  Options["credentials"],
  Usage
> => {
  const token = variable("EVT_TOKEN")
  const user = variable("EVT_USER")
  if (token !== undefined) return Effect.succeed({ token: Redacted.make(token) })
  return user === undefined
    ? Effect.fail(new Usage({ message: "EVT_URL (--url) needs EVT_TOKEN, or EVT_USER and EVT_PASSWORD" }))
    : Effect.succeed({ user, password: Redacted.make(process.env.EVT_PASSWORD ?? "") })
})

const address = (text: string): Effect.Effect<string, Usage> => {
  if (!/^(ws|http)s?:\/\//i.test(text) || !URL.canParse(text)) {
    return Effect.fail(new Usage({ message: "EVT_URL (--url) must be ws://…, wss://…, http://… or https://…" }))
  }
  const url = new URL(text)
  if (url.pathname === "/") url.pathname = "/rpc"
  return Effect.succeed(url.href)
}

export const open = (url: string): Effect.Effect<Services, Usage | Unreachable | InvalidOption, Scope.Scope> =>
  Effect.gen(function*() {
    const options = { url: yield* address(url), credentials: yield* credentials }
    const { open } = yield* load(() => import("../layers/rpc/client/layer.js"), "@effect/rpc and ws")
    return yield* open(options)
  })

/** What went wrong there, in the words of a caller: it has no database. */
export const told = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | Unreachable | Unauthorized | Forbidden | LimitExceeded, R> =>
  Effect.mapError(effect, (error) => {
    if (!(error instanceof StoreError)) return error
    const { cause, reason } = error
    if (cause instanceof Unauthorized || cause instanceof Forbidden || cause instanceof LimitExceeded) return cause
    return reason === "connection"
      ? new Unreachable({ message: "EVT_URL (--url): the server cannot be reached", cause })
      : error
  })
