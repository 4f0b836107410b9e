/**
 * The members of JSON objects as they were written. Parsed and printed again, numbers above 2^53 would lose digits, and
 * `1.0` and escapes would become something else: what is stored is the text.
 */

/** An object's members by name: the text of each value, without white space around it. */
export type Members = ReadonlyMap<string, string>

/** Of an object. Only what JSON.parse has accepted: there is nothing to check, only to find. */
export const membersOf = (text: string): Members => scan(text, false)[0]!

/** The same of the objects of a list. */
export const membersOfEach = (text: string): ReadonlyArray<Members> => scan(text, true)

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
