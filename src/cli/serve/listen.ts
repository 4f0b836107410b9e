/** Where `evt serve` listens, and whether it speaks TLS. */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { Usage } from "../CliError.js"

export interface Address {
  readonly host: string
  readonly port: number
}

export const addressOf = (text: string): Effect.Effect<Address, Usage> => {
  const [, ipv6, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]*)):(\d{1,5})$/.exec(text) ?? []
  return port === undefined || Number(port) > 65_535
    ? Effect.fail(
      new Usage({ message: `EVT_LISTEN (--listen) must be host:port, like 0.0.0.0:8080 or [::1]:8080, not ${text}` })
    )
    : Effect.succeed({ host: ipv6 ?? (name || "0.0.0.0"), port: Number(port) })
}

/** Whether nobody else's machine gets there. */
export const isLoopback = ({ host }: Address): boolean =>
  host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)

export const tlsOf = (
  cert: string | undefined,
  key: string | undefined
): Effect.Effect<{ readonly cert: Buffer; readonly key: Buffer } | undefined, Usage> => {
  if (cert === undefined && key === undefined) return Effect.succeed(undefined)
  if (cert === undefined || key === undefined) {
    return Effect.fail(new Usage({ message: "EVT_TLS_CERT and EVT_TLS_KEY go together: give both or none" }))
  }
  return Effect.try({
    try: () => ({ cert: Fs.readFileSync(cert), key: Fs.readFileSync(key) }),
    catch: (error) => new Usage({ message: `EVT_TLS_CERT, EVT_TLS_KEY: ${(error as Error).message}` })
  })
}
