/**
 * Who sends a message: what it shows in `sec` is checked for each one, as clients of several users share a connection.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { StoreError, Unauthorized } from "../../EventStreamError.js"
import type { Identity, Service as Access } from "../../services/Access.js"
import { Counts } from "../network/counts.js"
import * as Limits from "../network/limits.js"
import { type Refusal, refusal } from "./answer.js"
import type { Message } from "./coder.js"
import * as Mac from "./mac.js"

export interface Caller {
  readonly identity: Identity
  /** The code of an answer, for who has signed its request. */
  readonly sign: ((answer: Message) => string) | undefined
}

/** So many messages of one address may wait for their password to be checked: it costs memory and time. */
const mostWaiting = 32

type Checked = Effect.Effect<Identity, Unauthorized | StoreError>

export interface Callers {
  /** Undefined: it does not say who it is. */
  readonly of: (message: Message, address: string) => Effect.Effect<Caller | undefined, Refusal | StoreError>
}

export const make = ({ authenticate }: Access): Callers => {
  const waiting = new Counts()
  const asked = new Map<string, Deferred.Deferred<Identity, Unauthorized | StoreError>>()

  /** Many messages with the same password, as a client sends them when it starts, are checked once. */
  const basic = (sec: string, address: string): Effect.Effect<Identity, Unauthorized | StoreError | Refusal> => {
    const colon = sec.indexOf(":")
    if (colon === -1) return Effect.fail(refused("Basic Auth Verification Failed"))
    const key = `${address} ${sec}`
    const check: Checked = Effect.suspend(() =>
      authenticate({
        _tag: "Basic",
        user: sec.slice(0, colon),
        password: Redacted.make(sec.slice(colon + 1))
      })
    )
    return Effect.suspend((): Effect.Effect<Identity, Unauthorized | StoreError | Refusal> => {
      const others = asked.get(key)
      if (others !== undefined) return Deferred.await(others)
      if (waiting.of(address) >= mostWaiting) {
        return Effect.zipRight(
          Limits.refused("ftn18", "credentials"),
          Effect.fail(refusal("DefenseRejected", "Too many credentials to check at a time"))
        )
      }
      return Effect.flatMap(Deferred.make<Identity, Unauthorized | StoreError>(), (answer) => {
        asked.set(key, answer)
        waiting.add(address, 1)
        // whoever asked first may go: the others still want to know
        const once = Effect.onExit(check, (exit) =>
          Effect.suspend(() => {
            asked.delete(key)
            waiting.add(address, -1)
            return Deferred.done(answer, exit)
          }))
        return Effect.zipRight(Effect.forkDaemon(once), Deferred.await(answer))
      })
    })
  }

  const refused = (text: string) => refusal("SecurityError", text)

  const signed = (sec: string, message: Message): Effect.Effect<Caller, Unauthorized | StoreError | Refusal> => {
    const mac = Mac.parse(sec)
    if (mac === undefined) return Effect.fail(refused("Legacy Signature Verification Failed"))
    let key: Uint8Array | undefined
    const verify = (candidate: Uint8Array) => {
      if (!Mac.verifies(mac, candidate, message)) return false
      key = candidate
      return true
    }
    return Effect.map(authenticate({ _tag: "Mac", user: mac.user, verify }), (identity) => ({
      identity,
      sign: key === undefined ? undefined : (answer) => Mac.sign(mac.algorithm, key!, answer)
    }))
  }

  const checked = (
    what: string,
    caller: Effect.Effect<Caller, Unauthorized | StoreError | Refusal>
  ): Effect.Effect<Caller, Refusal | StoreError> =>
    Effect.catchTag(caller, "Unauthorized", () =>
      Effect.zipRight(
        Limits.refused("ftn18", "unauthorized"),
        Effect.fail(refused(`${what} Verification Failed`))
      ))

  return {
    of: (message, address) => {
      const { sec } = message
      if (typeof sec !== "string") return Effect.succeed(undefined)
      if (!sec.startsWith("-")) {
        return checked("Basic Auth", Effect.map(basic(sec, address), (identity) => ({ identity, sign: undefined })))
      }
      const [scheme] = sec.split(":", 1)
      if (scheme === "-internal") return Effect.fail(refused("Not internal channel"))
      if (scheme === "-hmac" || scheme === "-smac") return checked("Legacy Signature", signed(sec, message))
      return Effect.fail(refusal("NotImplemented", "Authentication is not enabled"))
    }
  }
}
