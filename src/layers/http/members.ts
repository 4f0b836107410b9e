/**
 * The members of JSON objects as they were written. Parsed and printed again, numbers above 2^53 would lose digits, and
 * `1.0` and escapes would become something else: what is stored is the text.
 */
import * as Either from "effect/Either"

/** An object's members by name: the text of each value, without white space around it. */
export type Members = ReadonlyMap<string, string>

export interface Read {
  /** Whether it was a list. */
  readonly list: boolean
  readonly objects: ReadonlyArray<Members>
}

/** The members of an object, or of the objects of a list. Left: what is wrong, as the rest of a sentence ("is …"). */
export const read = (text: string): Either.Either<Read, string> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return Either.left(`no JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const isObject = (u: unknown) => typeof u === "object" && u !== null && !Array.isArray(u)
  const list = Array.isArray(value)
  if (!(list ? value as Array<unknown> : [value]).every(isObject)) {
    return Either.left(list ? "a list with something else than objects" : "neither an object nor a list of objects")
  }
  return Either.right({ list, objects: scan(text, list) })
}

/** Only what JSON.parse has accepted: there is nothing to check, only to find. */
const scan = (text: string, list: boolean): ReadonlyArray<Members> => {
  let at = 0
  const skip = () => {
    while (/\s/.test(text[at] ?? "x")) at++
  }
  const string = () => {
    const from = at++
    while (text[at] !== `"`) at += text[at] === "\\" ? 2 : 1
    return text.slice(from, ++at)
  }
  const value = () => {
    const from = at
    if (text[at] === `"`) return string()
    if (text[at] !== "{" && text[at] !== "[") {
      while (at < text.length && !/[\s,\]}]/.test(text[at]!)) at++
      return text.slice(from, at)
    }
    let depth = 0
    do {
      if (text[at] === `"`) string()
      else {
        if (text[at] === "{" || text[at] === "[") depth++
        else if (text[at] === "}" || text[at] === "]") depth--
        at++
      }
    } while (depth > 0)
    return text.slice(from, at)
  }
  const object = () => {
    const members = new Map<string, string>()
    at++
    for (skip(); text[at] !== "}"; skip()) {
      const name = JSON.parse(string()) as string
      skip()
      at++
      skip()
      // of two with one name the last one counts, as in JSON.parse
      members.set(name, value())
      skip()
      if (text[at] === ",") at++
    }
    at++
    return members
  }
  skip()
  if (!list) return [object()]
  const objects: Array<Members> = []
  at++
  for (skip(); text[at] !== "]"; skip()) {
    objects.push(object())
    skip()
    if (text[at] === ",") at++
  }
  return objects
}
