/**
 * JSON text that says exactly what the value says, or a sentence why there is none. `JSON.stringify` drops `undefined`
 * members, turns NaN into null and Map into {}: an event must not change on its way, so all of that is refused.
 */
import * as Either from "effect/Either"

const printKey = (key: string | number) =>
  typeof key === "number" ? `[${key}]` : /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`

const maxDepth = 500

const inspect = (value: unknown, path: Array<string | number>, ancestors: Array<object>): string | undefined => {
  const at = () => path.length === 0 ? "" : ` at ${path.map(printKey).join("")}`
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : `has ${value}${at()}, which JSON cannot hold`
    case "object":
      break
    default:
      return `has ${value === undefined ? "undefined" : `a ${typeof value}`}${at()}, which JSON cannot hold`
  }
  if (value === null) return undefined
  if (ancestors.includes(value)) return `has a cycle${at()}`
  if (ancestors.length >= maxDepth) return `is nested deeper than ${maxDepth} levels`
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return `has a ${value.constructor?.name ?? "value"} with toJSON${at()}: encode it with the event's schema`
  }
  ancestors.push(value)
  let issue: string | undefined
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && issue === undefined; i++) {
      path.push(i)
      issue = inspect(value[i], path, ancestors)
      path.pop()
    }
  } else {
    const proto = Object.getPrototypeOf(value)
    if (proto !== Object.prototype && proto !== null) {
      issue = `has a ${value.constructor?.name ?? "class instance"}${at()}: encode it with the event's schema`
    } else if (Object.getOwnPropertySymbols(value).length > 0) {
      issue = `has a member named by a symbol${at()}`
    } else {
      for (const key of Object.keys(value)) {
        path.push(key)
        issue = inspect((value as Record<string, unknown>)[key], path, ancestors)
        path.pop()
        if (issue !== undefined) break
      }
    }
  }
  ancestors.pop()
  return issue
}

/** The JSON text of `value`; left: what is wrong, as the rest of a sentence ("has NaN at .price, …"). */
export const encode = (value: unknown): Either.Either<string, string> => {
  const issue = inspect(value, [], [])
  return issue === undefined ? Either.right(JSON.stringify(value)) : Either.left(issue)
}

/**
 * What is wrong with a text that should be JSON and is to be stored as it is; undefined if nothing is. Nested as deep as
 * `encode` allows, so that who reads it can do the same to it.
 */
export const textIssue = (text: string): string | undefined => {
  try {
    return inspect(JSON.parse(text), [], [])
  } catch (error) {
    return `is not JSON: ${error instanceof Error ? error.message : String(error)}`
  }
}
