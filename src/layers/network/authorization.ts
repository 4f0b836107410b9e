/**
 * The header `Authorization` as credentials, and back (RFC 7617, RFC 6750).
 */
import * as Redacted from "effect/Redacted"
import type { Credentials } from "../../services/Access.js"

/** Undefined: it is neither Basic nor Bearer. */
export const credentialsOf = (header: string): Credentials | undefined => {
  const [, scheme, value] = /^\s*(basic|bearer)\s+(\S+)\s*$/i.exec(header) ?? []
  if (scheme === undefined || value === undefined) return undefined
  if (scheme.toLowerCase() === "bearer") return { _tag: "Bearer", token: Redacted.make(value) }
  const decoded = Buffer.from(value, "base64").toString("utf8")
  const colon = decoded.indexOf(":")
  return colon === -1
    ? undefined
    : { _tag: "Basic", user: decoded.slice(0, colon), password: Redacted.make(decoded.slice(colon + 1)) }
}

export const headerOf = (credentials: Exclude<Credentials, { readonly _tag: "Mac" }>): string =>
  credentials._tag === "Bearer"
    ? `Bearer ${Redacted.value(credentials.token)}`
    : `Basic ${Buffer.from(`${credentials.user}:${Redacted.value(credentials.password)}`).toString("base64")}`
