/**
 * What the commands have in common: options, and how their values are read. @effect/cli wants options before arguments;
 * people write them anywhere.
 */
import * as Args from "@effect/cli/Args"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Consumer } from "../Consumer.js"
import * as Said from "../internal/said.js"
import type { From } from "../services/Poller.js"
import { Usage } from "./CliError.js"

export const common = {
  json: Options.boolean("json").pipe(Options.withDescription("Answers in JSON: one document, or one object a line")),
  verbose: Options.boolean("verbose").pipe(Options.withDescription("Says more, and why something failed"))
}

export const optional = (name: string, description: string) =>
  Options.text(name).pipe(
    Options.withDescription(description),
    Options.optional,
    Options.map(Option.getOrUndefined)
  )

export const optionalInteger = (name: string, description: string) =>
  Options.integer(name).pipe(
    Options.withDescription(description),
    Options.optional,
    Options.map(Option.getOrUndefined)
  )

export const want = optional("want", "Only these event types, separated by commas")

export const consumer = Args.text({ name: "consumer" }).pipe(
  Args.withDescription("COMPONENT, or USER:COMPONENT"),
  Args.map((text): Consumer => consumerOf(text))
)

export const consumerOf = (text: string): Consumer => {
  const colon = text.lastIndexOf(":")
  return colon < 0 ? text : { user: text.slice(0, colon), component: text.slice(colon + 1) }
}

export const timeOf = (option: string, text: string): Effect.Effect<Date, Usage> => {
  const time = Said.timeOf(text)
  return time !== undefined
    ? Effect.succeed(time)
    : Effect.fail(new Usage({ message: `${option} must be a time like 2026-01-31T12:00:00Z, not ${text}` }))
}

export const fromOf = (option: string, text: string): Effect.Effect<From, Usage> => {
  const from = Said.fromOf(text)
  return from !== undefined
    ? Effect.succeed(from)
    : Effect.fail(
      new Usage({ message: `${option} must be beginning, end, an event id or a time in ISO form, not ${text}` })
    )
}

/** Options that take no value. */
const flags = new Set([
  "--json",
  "--verbose",
  "--once",
  "--all",
  "--verify",
  "--archive",
  "--discard",
  "--trust",
  "--behind-proxy",
  "--token",
  "--help",
  "-h",
  "--version",
  "--wizard"
])
/** Options that take the next word. */
const valued = new Set(
  [
    "accounts",
    "after",
    "before",
    "completions",
    "dead-letters",
    "dedupe",
    "evict-after",
    "from",
    "id",
    "key",
    "last-id",
    "limit",
    "listen",
    "log-level",
    "retain",
    "retain-events",
    "since",
    "to",
    "until",
    "url",
    "want",
    "why"
  ].map((name) => `--${name}`)
)
const groups = new Set(["consumers", "dead-letters", "history"])

/**
 * The command, its options, then its arguments, which may look like options (`-5`). `--url`, which every command has, is
 * the same as EVT_URL in its environment.
 */
export const arrange = (args: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, Usage> =>
  Effect.suspend(() => {
    const words: Array<string> = []
    const options: Array<string> = []
    for (let i = 0; i < args.length; i++) {
      const arg = args[i]!
      if (arg === "--") {
        words.push(...args.slice(i + 1))
        break
      }
      if (!/^-[^\d]/.test(arg)) {
        words.push(arg)
        continue
      }
      const name = arg.split("=", 1)[0]!
      if (!flags.has(name) && !valued.has(name)) {
        return Effect.fail(new Usage({ message: `there is no option ${name}: see evt --help` }))
      }
      if (name === "--url") {
        const value = name === arg ? args[++i] : arg.slice(name.length + 1)
        if (!value) return Effect.fail(new Usage({ message: "--url needs a value" }))
        process.env.EVT_URL = value
        continue
      }
      options.push(arg)
      if (flags.has(name) || name !== arg) continue
      const value = args[++i]
      if (value === undefined) return Effect.fail(new Usage({ message: `${name} needs a value` }))
      options.push(value)
    }
    const depth = words[0] !== undefined && groups.has(words[0]) ? 2 : 1
    const rest = words.slice(depth)
    return Effect.succeed([...words.slice(0, depth), ...options, ...(rest.length === 0 ? [] : ["--", ...rest])])
  })
