/** The body of a request as text, of a bounded size. */
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { InvalidOption, LimitExceeded } from "../../EventStreamError.js"
import { refused } from "../network/limits.js"

/** `LimitExceeded`: it has more bytes than `most`, and was not read to its end. */
export const text = (
  request: HttpServerRequest.HttpServerRequest,
  most: number
): Effect.Effect<string, LimitExceeded | InvalidOption> =>
  Effect.suspend(() => {
    const tooLong = Effect.zipRight(
      refused("http", "messageBytes"),
      Effect.fail(new LimitExceeded({ limit: "messageBytes", most }))
    )
    if (Number(request.headers["content-length"] ?? 0) > most) return tooLong
    const parts: Array<Uint8Array> = []
    let bytes = 0
    return Stream.runForEachWhile(request.stream, (part) =>
      Effect.sync(() => {
        parts.push(part)
        bytes += part.length
        return bytes <= most
      })).pipe(
        Effect.mapError(() => invalid("as long as its Content-Length says", "cut off")),
        Effect.flatMap((): Effect.Effect<string, LimitExceeded | InvalidOption> => {
          if (bytes > most) return tooLong
          try {
            return Effect.succeed(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts)))
          } catch {
            // replaced characters would be stored
            return Effect.fail(invalid("UTF-8", "something else"))
          }
        })
      )
  })

export const invalid = (expected: string, value: string) => new InvalidOption({ option: "the body", expected, value })
