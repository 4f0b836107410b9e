/**
 * The Poller of a remote stream.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as EventId from "../../../EventId.js"
import type { Delivery, PollError, Service } from "../../../services/Poller.js"
import * as Idle from "../../../streams/Idle.js"
import { reconnecting, select, toBatch, toId, within } from "../../reader.js"
import type { Calls } from "./calls.js"
import { fromOf, registeredWho, whoOf } from "./names.js"
import { pageOf } from "./pages.js"

const limitOf = (limit: number | undefined) => limit === undefined ? Effect.void : within("limit", limit, 1, 1000)

export const make = ({ call, client, settings }: Calls): Service => {
  const register: Service["register"] = (consumer, options) =>
    Effect.gen(function*() {
      const who = yield* registeredWho("register", consumer)
      const from = options?.from === undefined ? undefined : yield* fromOf(options.from)
      const cursor = yield* call("register", client.Register({ who, from, mode: options?.mode }))
      return toId(cursor ?? 0n)
    }) as ReturnType<Service["register"]>

  const unregister: Service["unregister"] = (consumer) =>
    Effect.flatMap(
      registeredWho("unregister", consumer),
      (who) => call("unregister", client.Unregister({ who }))
    ) as ReturnType<Service["unregister"]>

  const poll: Service["poll"] = (consumer, options) =>
    Effect.gen(function*() {
      const who = yield* whoOf(consumer)
      const limit = yield* limitOf(options?.limit)
      const selection = yield* select(options?.want, options?.catalog)
      const lastId = options?.lastId === undefined ? undefined : yield* EventId.parse("lastId", options.lastId)
      const page = yield* call(
        "poll",
        client.Poll({ who, want: selection.types, limit: limit ?? undefined, lastId, generation: options?.generation })
      )
      return toBatch(pageOf(page), selection)
    }) as Effect.Effect<any, PollError>

  const stream: Service["stream"] = (consumer, options) =>
    Stream.unwrap(Effect.gen(function*() {
      const who = yield* registeredWho("stream", consumer)
      const limit = yield* limitOf(options?.limit)
      const selection = yield* select(options?.want, options?.catalog)
      if (options?.register !== undefined) yield* register(consumer, options.register)
      const idle = yield* Idle.make(options?.idle)
      const retry = reconnecting(options?.reconnect ?? settings.reconnect)
      let position = 0n
      const next = Effect.gen(function*() {
        while (true) {
          const { cursor, page } = yield* call(
            "stream",
            client.Read({ who, want: selection.types, limit: limit ?? undefined, after: position })
          )
          if (cursor > position) position = cursor
          if (page.upTo > position) {
            const { upTo } = page
            position = upTo
            yield* idle.busy
            return {
              batch: toBatch(pageOf(page), selection),
              ack: retry(call("ack", client.Acknowledge({ who, upTo })))
            } as Delivery<any>
          }
          yield* idle.pause
        }
      })
      return Stream.buffer(Stream.repeatEffect(retry(next) as Effect.Effect<Delivery<any>, PollError>), { capacity: 1 })
    }))

  return { register, unregister, poll, stream }
}
