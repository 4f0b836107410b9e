/**
 * The text of `p.data` in a request of JSON as its sender wrote it: parsed and printed again, numbers above 2^53 would
 * lose digits.
 */

type Span = readonly [from: number, to: number]

const blank = (text: string, at: number): number => {
  while (" \t\n\r".includes(text[at]!)) at++
  return at
}

const stringEnd = (text: string, at: number): number => {
  for (at++; text[at] !== `"`; at++) if (text[at] === "\\") at++
  return at + 1
}

const valueEnd = (text: string, at: number): number => {
  if (text[at] === `"`) return stringEnd(text, at)
  if (text[at] !== "{" && text[at] !== "[") {
    while (at < text.length && !",]} \t\n\r".includes(text[at]!)) at++
    return at
  }
  let depth = 0
  while (true) {
    const c = text[at]!
    if (c === `"`) {
      at = stringEnd(text, at)
      continue
    }
    if (c === "{" || c === "[") depth++
    if ((c === "}" || c === "]") && --depth === 0) return at + 1
    at++
  }
}

/** Where the value of a member of the object at `at` is: of several of one name the last one, as `JSON.parse` has it. */
const member = (text: string, at: number, name: string): Span | undefined => {
  let found: Span | undefined
  at = blank(text, at + 1)
  while (text[at] === `"`) {
    const end = stringEnd(text, at)
    const key: unknown = JSON.parse(text.slice(at, end))
    const from = blank(text, blank(text, end) + 1)
    const to = valueEnd(text, from)
    if (key === name) found = [from, to]
    at = blank(text, to)
    if (text[at] === ",") at = blank(text, at + 1)
  }
  return found
}

/** `text` is an object of JSON: that is known before, and so is that both members are there. */
export const dataText = (text: string): string | undefined => {
  const p = member(text, blank(text, 0), "p")
  const data = p === undefined || text[p[0]] !== "{" ? undefined : member(text, p[0], "data")
  return data === undefined ? undefined : text.slice(...data)
}
