/**
 * Who consumes: (authenticated user, component), FTN18 2.2.4.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import { InvalidConsumer } from "./EventStreamError.js"

/**
 * The component name of unregistered polling (FTN18 2.2.4).
 *
 * @since 0.1.0
 * @category constants
 */
export const live = "LIVE"

/**
 * How callers name a consumer: its component, or user and component. The user of a bare component is `local`.
 *
 * @since 0.1.0
 * @category models
 */
export type Consumer = string | { readonly user: string; readonly component: string }

const userPattern = /^[A-Za-z0-9_.@-]{1,47}$/
const componentPattern = /^[A-Za-z0-9_]{1,16}$/

const print = (value: unknown): string => {
  const text = typeof value === "string" ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/**
 * `user:component`, the name under which a consumer is stored.
 *
 * @since 0.1.0
 * @category conversions
 */
export const ident = (consumer: Consumer): Either.Either<string, InvalidConsumer> => {
  const { component, user } = typeof consumer === "object" && consumer !== null
    ? consumer
    : { component: consumer, user: "local" }
  if (typeof user !== "string" || !userPattern.test(user)) {
    return Either.left(
      new InvalidConsumer({ part: "user", value: print(user), expected: "1 to 47 characters of A-Z a-z 0-9 _ . @ -" })
    )
  }
  if (typeof component !== "string" || !componentPattern.test(component)) {
    return Either.left(
      new InvalidConsumer({
        part: "component",
        value: print(component),
        expected: "1 to 16 characters of A-Z a-z 0-9 _"
      })
    )
  }
  return Either.right(`${user}:${component}`)
}

/**
 * Whether the consumer is the unregistered one.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isLive = (consumer: Consumer): boolean =>
  (typeof consumer === "string" ? consumer : consumer.component) === live
