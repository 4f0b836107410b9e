/**
 * The form of a request (FTN3): which function of which version, and whether its parameters fit.
 */
import * as Either from "effect/Either"
import { invalid, type Refusal, refusal } from "./answer.js"
import type { Decoded, Message } from "./coder.js"
import { type Func, type Interface, interfaces } from "./interfaces.js"

const fields = new Set(["f", "p", "rid", "sec", "obf", "forcersp"])

/** Where a call came in. */
export interface Channel {
  /** Nobody can listen to it. */
  readonly secure: boolean
  /** The server can call, too. */
  readonly bidirectional: boolean
}

export interface Call {
  readonly func: Func
  readonly interface: Interface
  readonly minor: number
  /** As it was asked for, for messages. */
  readonly name: string
}

/** A message is an object, or nothing that can be answered to in detail. */
export const messageOf = ({ value }: Decoded): Message | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Message : undefined

/** Which function; who is not known learns of nothing that it exists. */
export const callOf = (message: Message, known: boolean): Either.Either<Call, Refusal> => {
  const name = message.f
  if (typeof name !== "string") return Either.left(invalid("Missing req.f"))
  const parts = name.split(":")
  if (parts.length !== 3) return Either.left(invalid("Invalid req.f"))
  const [of, version, called] = parts as [string, string, string]
  const [, major, digits] = /^(\d{1,9})\.(\d{1,9})$/.exec(version) ?? []
  if (digits === undefined) return Either.left(invalid("Invalid req.f (version)"))
  const unknown = refusal("UnknownInterface", `Unknown interface: ${of.slice(0, 100)}`)
  const no = (why: Refusal) => Either.left(known ? why : unknown)
  const found = interfaces.get(of)
  if (found === undefined) return Either.left(unknown)
  if (Number(major) !== 1) return no(refusal("NotSupportedVersion", `Different major version: ${of}:${major}`))
  const minor = Number(digits)
  if (minor > found.minor) {
    return no(refusal("NotSupportedVersion", `Iface version is too old: ${of}:${version}`))
  }
  const func = found.functions(minor).get(called)
  return func === undefined
    ? no(invalid(`Unknown interface function: ${called.slice(0, 100)}`))
    : Either.right({ func, interface: found, minor, name })
}

/** Whether the channel is good enough for it. */
export const channelIssue = (call: Call, channel: Channel, known: boolean): Refusal | undefined => {
  if (call.interface.secure && !channel.secure) return refusal("SecurityError", "Insecure channel")
  if (!known) return refusal("SecurityError", "Anonymous not allowed")
  if (call.interface.bidirectional && !channel.bidirectional) return invalid("Bi-Direct Channel is required")
  return undefined
}

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? "undefined"
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

/** The parameters; what may be left out and is null counts as left out. */
export const parametersOf = (
  { func, name }: Call,
  message: Message
): Either.Either<Readonly<Record<string, unknown>>, Refusal> => {
  const { p } = message
  if (typeof p !== "object" || p === null || Array.isArray(p)) return Either.left(invalid("Invalid message: p"))
  for (const given of Object.keys(p)) {
    if (!Object.hasOwn(func.parameters, given)) {
      return Either.left(invalid(`Unknown parameter: ${name}(${given.slice(0, 100)})`))
    }
  }
  const parameters: Record<string, unknown> = {}
  for (const [key, { fits, optional }] of Object.entries(func.parameters)) {
    const value: unknown = Object.hasOwn(p, key) ? (p as Record<string, unknown>)[key] : undefined
    if (optional && (value === undefined || value === null)) continue
    if (value === undefined) return Either.left(invalid(`Missing parameter: ${name}(${key})`))
    if (!fits(value)) {
      return Either.left(invalid(`Type mismatch for parameter: ${name}(${key}) = ${shown(value)}`))
    }
    parameters[key] = value
  }
  for (const given of Object.keys(message)) {
    if (!fields.has(given)) return Either.left(invalid(`Unknown request field: ${given.slice(0, 100)}`))
  }
  return Either.right(parameters)
}
