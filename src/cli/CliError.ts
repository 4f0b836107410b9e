/**
 * What the command says when something fails, and the exit code that goes with it.
 */
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Data from "effect/Data"
import { fromCause } from "../EventStreamError.js"
import { plain } from "./text.js"

/** The arguments do not make sense; nothing was done. */
export class Usage extends Data.TaggedError("Usage")<{ readonly message: string }> {}

/** The database cannot be reached, or opened. */
export class Unreachable extends Data.TaggedError("Unreachable")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/** What was looked at is not well. */
export class Problems extends Data.TaggedError("Problems")<{ readonly message: string }> {}

/** Who reads the output has gone (`| head`): no failure. */
export class OutputClosed extends Data.TaggedError("OutputClosed") {}

export const exitCodes = { ok: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 }

/** The exit code of who is interrupted (Ctrl-C, SIGTERM). */
export const onInterrupt = { code: exitCodes.interrupted }

/** From now on being interrupted is how it is meant to end. */
export const endsWell = Effect.sync(() => {
  onInterrupt.code = exitCodes.ok
})

const usage = new Set(["Usage", "InvalidOption", "InvalidEvent", "InvalidConsumer", "LiveNotAllowed"])
const unreachable = new Set(["Unreachable", "SchemaMismatch", "UnsupportedDatabase"])

export interface Told {
  readonly code: number
  /** One line, undefined where nothing is to be said. */
  readonly message: string | undefined
}

export const tell = (cause: Cause.Cause<unknown>): Told => {
  if (Cause.isInterruptedOnly(cause)) return { code: exitCodes.interrupted, message: undefined }
  const failure = Cause.failureOption(cause)
  const error = Option.isSome(failure) ? failure.value : Option.getOrElse(fromCause(cause, "evt"), () => undefined)
  if (error === undefined) return { code: exitCodes.failed, message: oneLine(Cause.squash(cause)) }
  if (ValidationError.isValidationError(error)) {
    return { code: exitCodes.usage, message: oneLine(HelpDoc.toAnsiText(error.error)) }
  }
  const tagged = error as { readonly _tag?: string; readonly reason?: string }
  const tag = tagged._tag ?? ""
  if (tag === "OutputClosed") return { code: exitCodes.ok, message: undefined }
  const code = usage.has(tag)
    ? exitCodes.usage
    : unreachable.has(tag) || (tag === "StoreError" && tagged.reason === "connection")
    ? exitCodes.unreachable
    : exitCodes.failed
  return { code, message: oneLine(error) }
}

/** What is behind it, the nearest first. */
export const reasons = (cause: Cause.Cause<unknown>): ReadonlyArray<string> => {
  const found: Array<string> = []
  let error: unknown = Cause.squash(cause)
  for (let depth = 0; depth < 8; depth++) {
    const next: unknown = error instanceof AggregateError
      ? error.errors[0]
      : (error as { cause?: unknown } | null)?.cause
    error = Cause.isCause(next) ? Cause.squash(next) : next
    if (error === undefined || error === null) break
    const { code } = error as { readonly code?: unknown }
    found.push(oneLine(error) + (typeof code === "string" ? ` (${code})` : ""))
  }
  return found
}

const oneLine = (error: unknown): string => {
  const text = plain(error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, " ").trim()
  return text === "" ? "failed without a word" : text
}
