/**
 * The options of a client, checked.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import { InvalidOption, type StoreError } from "../../../EventStreamError.js"
import type { Credentials } from "../../../services/Access.js"
import type * as History from "../../History.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Where the stream is served: `ws://…` and `wss://…` for a WebSocket, `http://…` and `https://…` for single requests, where
   * WebSockets do not get through. Subscriptions by WebSocket are faster and notice a loss sooner.
   */
  readonly url: string
  /** Who that is: a user and its password (Basic), or a token (Bearer). */
  readonly credentials:
    | { readonly user: string; readonly password: Redacted.Redacted }
    | { readonly token: Redacted.Redacted }
  /**
   * The pauses between attempts of a subscription, and of `add`, while the server cannot be reached. Default: 50 ms doubling
   * to 5 s, with jitter, for ever.
   */
  readonly reconnect?: Schedule.Schedule<unknown, StoreError> | undefined
  /** How long one call may take, and how long `add` is tried again after an answer was lost. Default 30 seconds. */
  readonly timeLimit?: Duration.DurationInput | undefined
  /** A WebSocket that is silent for so long is asked, and given up after as long again. 100 ms to 1 hour, default 5 seconds. */
  readonly heartbeat?: Duration.DurationInput | undefined
  /** Bytes of one message, as the server's limit has it: events that are added together have to fit. Default 8 MiB. */
  readonly messageBytes?: number | undefined
  /**
   * A history on this side: gives the services `Archiver` and `History`, which archive the remote stream into it.
   */
  readonly history?: History.Options | undefined
  /** How long the end of the layer waits for receivers to finish the batch that they have in hand. Default 10 seconds. */
  readonly shutdownTimeout?: Duration.DurationInput | undefined
}

export interface Settings {
  readonly url: string
  readonly transport: "socket" | "http"
  readonly credentials: Exclude<Credentials, { readonly _tag: "Mac" }>
  readonly reconnect: Options["reconnect"]
  readonly timeLimit: Duration.Duration
  readonly heartbeat: Duration.Duration
  readonly messageBytes: number
  readonly shutdownTimeout: Duration.DurationInput
}

const defaults = { timeLimit: "30 seconds", heartbeat: "5 seconds", messageBytes: 8 * 1024 * 1024 } as const

const transports = { "ws:": "socket", "wss:": "socket", "http:": "http", "https:": "http" } as const

export const check = (options: Options): Effect.Effect<Settings, InvalidOption> =>
  Effect.gen(function*() {
    const { credentials, url } = options
    const protocol = URL.canParse(url) ? new URL(url).protocol : ""
    if (!(protocol in transports)) {
      return yield* new InvalidOption({
        option: "url",
        value: String(url).slice(0, 100),
        expected: "a ws:, wss:, http: or https: URL"
      })
    }
    const between = (option: "timeLimit" | "heartbeat") => {
      const duration = Duration.decode(options[option] ?? defaults[option])
      return Duration.between(duration, { minimum: "100 millis", maximum: "1 hour" })
        ? Effect.succeed(duration)
        : new InvalidOption({ option, value: Duration.format(duration), expected: "100 ms to 1 hour" })
    }
    return {
      url,
      transport: transports[protocol as keyof typeof transports],
      credentials: "token" in credentials
        ? { _tag: "Bearer", token: credentials.token }
        : { _tag: "Basic", user: credentials.user, password: credentials.password },
      reconnect: options.reconnect,
      timeLimit: yield* between("timeLimit"),
      heartbeat: yield* between("heartbeat"),
      messageBytes: options.messageBytes ?? defaults.messageBytes,
      shutdownTimeout: options.shutdownTimeout ?? "10 seconds"
    }
  })
