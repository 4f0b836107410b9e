/**
 * What the command says when something fails, and the exit code that goes with it.
 */
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Cause from "effect/Cause"
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

/** Who reads the output has gone (`| head`): no failure. */
export class OutputClosed extends Data.TaggedError("OutputClosed") {}

export const exitCodes = { ok: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 }

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

const oneLine = (error: unknown): string => {
  const text = plain(error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, " ").trim()
  return text === "" ? "failed without a word" : text
}
