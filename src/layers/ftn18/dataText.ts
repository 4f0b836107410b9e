import { membersOf } from "../../internal/jsonMembers.js"

/**
 * The text of `p.data` in a request of JSON as its sender wrote it: parsed and printed again, numbers above 2^53 would
 * lose digits. `text` is an object of JSON: that is known before, and so is that both members are there.
 */
export const dataText = (text: string): string | undefined => {
  const p = membersOf(text).get("p")
  return p?.startsWith("{") ? membersOf(p).get("data") : undefined
}
