/**
 * Which dead letters, or events, somebody means: checked.
 */
import * as Effect from "effect/Effect"
import * as EventId from "../EventId.js"
import { InvalidOption } from "../EventStreamError.js"
import { keyIssue } from "../internal/key.js"
import type { Which } from "../services/Consumers.js"
import type { LettersOf } from "../services/EventStore.js"

/** They go into one statement. */
const mostIds = 10_000

export const refuse = (option: string, value: unknown, expected: string) =>
  Effect.fail(new InvalidOption({ option, value: String(value).slice(0, 60), expected }))

export const keyOf = (key: unknown): Effect.Effect<string, InvalidOption> => {
  const issue = keyIssue(key)
  return issue === undefined
    ? Effect.succeed(key as string)
    : refuse("key", typeof key === "string" ? JSON.stringify(key) : key, `a key of events: it ${issue}`)
}

export const idsOf = (ids: ReadonlyArray<EventId.Input>) =>
  ids.length === 0 || ids.length > mostIds
    ? refuse("ids", `a list of ${ids.length}`, `a list of 1 to ${mostIds} ids`)
    : Effect.forEach(ids, (id) => EventId.parse("ids", id))

export const chosen = (which: Which): Effect.Effect<LettersOf["of"], InvalidOption> => {
  if (which === "all") return Effect.succeed(which)
  if (typeof which === "object" && which !== null && "key" in which) {
    return Effect.map(keyOf(which.key), (key) => ({ key }))
  }
  if (typeof which !== "object" || which === null || !Array.isArray(which.ids)) {
    return refuse("which", which, `"all", { key } or { ids }`)
  }
  return Effect.map(idsOf(which.ids), (ids) => ({ ids }))
}
