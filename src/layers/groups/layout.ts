/**
 * Gives a consumer its partitions with the first run that asks for them: as its active receiver, so that an ordinary
 * receiver at work is waited for, or refused, as `whenBusy` says, and cannot go on.
 */
import * as Effect from "effect/Effect"
import type { Consumer } from "../../Consumer.js"
import { ConsumerBusy, InvalidOption, NotRegistered } from "../../EventStreamError.js"
import type { RunOptions, SubscribeError } from "../../services/Pusher.js"
import type { Ports } from "../Pusher.js"
import { reconnecting } from "../reader.js"
import { archivers } from "../sql/Dialect.js"
import { randomUUID } from "node:crypto"

export const mostPartitions = 256

/** A number of partitions that a consumer may have. */
export const checkPartitions = (ident: string, partitions: number, least: number): Effect.Effect<void, InvalidOption> =>
  archivers(ident)
    ? Effect.fail(
      new InvalidOption({ option: "partitions", value: String(partitions), expected: "left out: an archiver has none" })
    )
    : Number.isInteger(partitions) && partitions >= least && partitions <= mostPartitions
    ? Effect.void
    : Effect.fail(
      new InvalidOption({
        option: "partitions",
        value: String(partitions),
        expected: `an integer from ${least} to ${mostPartitions}`
      })
    )

/** How many partitions it has then. */
export const layOut = (
  { leases, register, shutdown, store }: Ports,
  consumer: Consumer,
  ident: string,
  partitions: number,
  options: RunOptions<any, any>
): Effect.Effect<number, SubscribeError> =>
  Effect.gen(function*() {
    yield* checkPartitions(ident, partitions, 1)
    const retry = reconnecting(options.reconnect)
    if (options.register !== undefined) yield* retry(register(consumer, options.register))
    while (true) {
      const laid = yield* Effect.scoped(Effect.gen(function*() {
        const held = yield* shutdown.unlessEnding(
          retry(leases.hold({ ident, owner: randomUUID() }, options.whenBusy ?? "wait"))
        )
        return yield* retry(store.layOut({ ident, partitions, actor: "pusher", epoch: held.claim.epoch }))
      })).pipe(Effect.catchTags({
        Partitioned: (found) => Effect.succeed({ _tag: "Fenced" as const, partitions: found.partitions }),
        Busy: ({ expiresIn, owner }) => Effect.fail(new ConsumerBusy({ consumer: ident, owner, expiresIn }))
      }))
      if (laid._tag === "NotRegistered") return yield* new NotRegistered({ consumer: ident })
      if (laid._tag === "LaidOut") {
        yield* Effect.logInfo(`${ident}: has ${partitions} partitions from event ${laid.cursor} on`)
        return partitions
      }
      if (laid.partitions > 0) return laid.partitions
    }
  }).pipe(Effect.catchTag("NotRegistered", () => Effect.fail(new NotRegistered({ consumer: ident }))))
