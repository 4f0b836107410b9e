/** The objects in the body of a request, by their members as they were written. */
import * as Either from "effect/Either"
import { type Members, membersOf, membersOfEach } from "../../internal/jsonMembers.js"

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
  return Either.right({ list, objects: list ? membersOfEach(text) : [membersOf(text)] })
}
