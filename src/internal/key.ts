/** What may be a key of an event. */
const maxKeyLength = 255

/** What is wrong with an event's key; undefined if nothing is. */
export const keyIssue = (key: unknown): string | undefined => {
  if (typeof key !== "string") return `must be a string, not ${typeof key}`
  if (key.length === 0 || key.length > maxKeyLength) {
    return `must have 1 to ${maxKeyLength} characters, not ${key.length}`
  }
  // a text column of PostgreSQL refuses NUL, and no UTF-8 column holds half a surrogate pair
  if (key.includes("\u0000")) return "must not contain the character U+0000"
  return isWellFormed(key) ? undefined : "must not contain half of a surrogate pair"
}

const isWellFormed = (text: string): boolean => {
  for (const char of text) {
    const code = char.codePointAt(0)!
    if (code >= 0xd800 && code <= 0xdfff) return false
  }
  return true
}
