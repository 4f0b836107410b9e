/**
 * `Pusher.subscribe` on whatever opens a consumer, here or over the network: pages as deliveries, and no more of them
 * without an acknowledgement than are allowed.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Service as EventStore } from "../services/EventStore.js"
import type { AckError, Service } from "../services/Pusher.js"
import type { Open } from "./Pusher.js"
import { fromOne } from "./reader.js"

export const subscribing = (open: Open, outside: EventStore["outside"]): Service["subscribe"] => (consumer, options) =>
  Stream.unwrapScoped(outside(
    "subscribe",
    Effect.gen(function*() {
      const maxInFlight = yield* fromOne("maxInFlight", options?.maxInFlight ?? 4)
      const subscription = yield* open(consumer, options)
      const free = yield* Effect.makeLatch(true)
      let inFlight: ReadonlyArray<bigint> = []
      const deliver = Effect.gen(function*() {
        while (inFlight.length >= maxInFlight) {
          yield* free.close
          if (inFlight.length >= maxInFlight) yield* free.await
        }
        const page = yield* subscription.next
        inFlight = [...inFlight, page.upTo]
        return {
          batch: subscription.decode(page),
          ack: outside(
            "ack",
            Effect.map(subscription.step(page.upTo), () => {
              inFlight = inFlight.filter((upTo) => upTo > page.upTo)
              free.unsafeOpen()
            })
          ) as Effect.Effect<void, AckError>
        }
      })
      return Stream.repeatEffect(deliver).pipe(
        Stream.interruptWhen(subscription.lost),
        Stream.buffer({ capacity: 1 })
      )
    })
  ))
