/**
 * The Pusher of a remote stream: the same managed loop and the same deliveries as where the stream is, on a subscription
 * over the network.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { sharedDecoder } from "../../../Event.js"
import { ForeignTransaction, InvalidOption, type StoreError } from "../../../EventStreamError.js"
import type { Service as EventStore } from "../../../services/EventStore.js"
import { Gap, type Service } from "../../../services/Pusher.js"
import type { Open, Ports } from "../../Pusher.js"
import { defaultRetry, fromOne, select, toId } from "../../reader.js"
import * as Runner from "../../runner.js"
import * as Settings from "../../runner/settings.js"
import { detached } from "../../sql/Database.js"
import { subscribing } from "../../subscribing.js"
import type { LiveFrame } from "../wire.js"
import type { Answered, Calls } from "./calls.js"

const outside: EventStore["outside"] = (_, effect) => detached(effect)

export const make = ({ client, flow, settings }: Calls, open: Open): Service => {
  /** What the loop asks of a database: there is none here. */
  const host = {
    outside,
    sequenced: true,
    owns: () => Effect.succeed(false)
  } as Partial<EventStore> as EventStore

  const run: Service["run"] = (consumer, handler, options) =>
    options?.exactlyOnce === true
      ? Effect.zipRight(
        // what else is wrong comes first; it asks no database
        Settings.check(host, Settings.make(handler, options)) as Effect.Effect<void, InvalidOption>,
        Effect.fail(new ForeignTransaction({ operation: "run with exactlyOnce on a remote stream" }))
      )
      : options?.partitions !== undefined && options.partitions !== 1
      ? new InvalidOption({
        option: "partitions",
        value: String(options.partitions),
        expected: "left out on a remote stream: the processes of a group have the database themselves"
      })
      : Runner.run({ store: host, open } as Ports, consumer, handler, options)

  const live: Service["live"] = (want, options) =>
    Stream.unwrap(Effect.gen(function*() {
      const selection = yield* select(want, options?.catalog, sharedDecoder)
      const buffer = yield* fromOne("buffer", options?.buffer ?? 10_000)
      const pauses = yield* Schedule.driver(options?.reconnect ?? settings.reconnect ?? defaultRetry)
      let position: bigint | undefined
      /** What was missed while the connection was lost is read up as far as the server has it in memory, else it is a `Gap`. */
      const attempt: Stream.Stream<LiveFrame, Answered> = Stream.suspend(() => {
        const after = position
        let seen = false
        return flow(
          "live",
          client.Live({ want: selection.types, buffer, ...(after === undefined ? {} : { after }) }, {
            // what waits here is not seen by the server, which drops the oldest
            streamBufferSize: 1
          })
        )
          .pipe(
            Stream.tap(({ upTo }) => {
              position = upTo
              if (seen) return Effect.void
              seen = true
              return pauses.reset
            }),
            Stream.catchAll((error) =>
              error._tag === "StoreError" && error.retryable
                ? Stream.drain(Stream.fromEffect(Effect.mapError(pauses.next(error), () => error)))
                : Stream.fail(error)
            )
          )
      })
      return Stream.forever(attempt).pipe(
        Stream.mapChunks(Chunk.flatMap(({ missed, rows, upTo }) => {
          const events = Chunk.unsafeFromArray(rows.map(selection.decode))
          return missed > 0 ? Chunk.prepend(events, new Gap({ missed, upTo: toId(upTo)! })) : events
        }))
      ) as Stream.Stream<any, InvalidOption | StoreError>
    }))

  return { subscribe: subscribing(open, outside), live, run }
}
