/**
 * Administration of a remote stream. The audit there names the user of the client, not the `Actor` here.
 */
import * as Effect from "effect/Effect"
import * as Event from "../../../Event.js"
import * as EventId from "../../../EventId.js"
import type { AuditEntry, Info, Service } from "../../../services/Consumers.js"
import type { Service as HistoryStore } from "../../../services/HistoryStore.js"
import type { Letter } from "../../../services/EventStore.js"
import { toDeadLetter } from "../../deadLetter.js"
import { select, toId, within } from "../../reader.js"
import { chosen, idsOf, keyOf, refuse } from "../../which.js"
import { detached } from "../../sql/Database.js"
import type * as Wire from "../wire.js"
import type { Answered, Calls } from "./calls.js"
import { lettersOf } from "./letters.js"
import { fromOf, registeredWho, whoOf } from "./names.js"

/** The arguments of the service; what is answered is checked by the schemas of the wire. */
type Answering = {
  readonly [K in keyof Service]: Service[K] extends (...args: infer Args) => Effect.Effect<infer _, infer E>
    ? (...args: Args) => Effect.Effect<unknown, Answered | E>
    : Effect.Effect<unknown, Answered>
}

export const make = ({ call, client }: Calls, history: HistoryStore | undefined): Service => {
  const service: Answering = {
    list: Effect.map(
      call("list", client.List({})),
      (list) =>
        list.map((info): Info => ({
          ...info,
          cursor: toId(info.cursor ?? 0n),
          partitions: info.partitions?.map((one) => ({ ...one, cursor: toId(one.cursor ?? 0n) }))
        }))
    ),
    reset: (consumer, to) =>
      Effect.gen(function*() {
        const who = yield* registeredWho("reset", consumer)
        return toId((yield* call("reset", client.Reset({ who, to: yield* fromOf(to) }))) ?? 0n)
      }),
    repartition: (consumer, partitions) =>
      Effect.gen(function*() {
        const who = yield* registeredWho("repartition", consumer)
        return toId((yield* call("repartition", client.Repartition({ who, partitions }))) ?? 0n)
      }),
    remove: (consumer, options) =>
      Effect.flatMap(
        registeredWho("remove", consumer),
        (who) => call("remove", client.Remove({ who, deadLetters: options?.deadLetters }))
      ),
    redact: (which) =>
      Effect.gen(function*() {
        const erasing = "key" in which ? { key: yield* keyOf(which.key) } : { ids: yield* idsOf(which.ids) }
        const redacted = yield* call("redact", client.Redact({ which: erasing }))
        if (history === undefined) return redacted
        const here = yield* detached(history.redact(erasing))
        return { ...redacted, history: here + (redacted.history ?? 0) }
      }),
    audit: (options) =>
      Effect.gen(function*() {
        const who = options?.consumer === undefined ? undefined : yield* whoOf(options.consumer)
        return (yield* call(
          "audit",
          client.Audit({ who, before: options?.before, limit: options?.limit })
        )) satisfies ReadonlyArray<AuditEntry>
      }),
    pause: (consumer, why) =>
      Effect.gen(function*() {
        const who = yield* registeredWho("pause", consumer)
        if (why !== undefined && typeof why !== "string") return yield* refuse("why", why, "a text")
        yield* call("pause", client.Pause({ who, why }))
      }),
    resume: (consumer) =>
      Effect.flatMap(registeredWho("resume", consumer), (who) => call("resume", client.Resume({ who }))),
    deadLetters: (consumer, options) =>
      Effect.gen(function*() {
        const who = yield* registeredWho("deadLetters", consumer)
        const limit = yield* within("limit", options?.limit ?? 100, 1, 1000)
        const key = options?.key === undefined ? undefined : yield* keyOf(options.key)
        const { decode } = yield* select(undefined, options?.catalog, Event.decoder)
        let after: bigint | undefined = options?.after === undefined
          ? undefined
          : yield* EventId.parse("after", options.after)
        const letters: Array<Letter> = []
        // large ones come in parts
        while (true) {
          const page: typeof Wire.Letters.Type = yield* call(
            "deadLetters",
            client.DeadLetters({ who, key, after, limit: limit - letters.length })
          )
          letters.push(...lettersOf(page))
          if (!page.more || letters.length === 0 || letters.length >= limit) break
          after = letters[letters.length - 1]!.row.id
        }
        return letters.map(toDeadLetter(decode))
      }),
    redrive: (consumer, which = "all") =>
      Effect.gen(function*() {
        const who = yield* registeredWho("redrive", consumer)
        return yield* call("redrive", client.Redrive({ who, which: yield* chosen(which) }))
      }),
    drop: (consumer, which) =>
      Effect.gen(function*() {
        const who = yield* registeredWho("drop", consumer)
        return yield* call("drop", client.Drop({ who, which: yield* chosen(which) }))
      })
  }
  // the server answers with the errors of the same service
  return service as unknown as Service
}
