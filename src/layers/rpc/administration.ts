/**
 * Administration: for who has the right to, then of all users' consumers. The audit names the caller.
 */
import * as Effect from "effect/Effect"
import { Actor } from "../../services/Consumers.js"
import type { Letter } from "../../services/EventStore.js"
import type * as EventStream from "../EventStream.js"
import { answerBytes, fromOf, toLetters } from "./answers.js"
import { Caller } from "./auth.js"
import * as Wire from "./wire.js"

interface Of {
  readonly who: Wire.Who
}

export const administration = ({ consumers }: EventStream.Service) => {
  /** Without a user it is the administrator's own consumer. */
  const administering = <A, E, R>(
    f: (named: (who: Wire.Who) => { readonly user: string; readonly component: string }) => Effect.Effect<A, E, R>
  ) =>
    Effect.flatMap(Caller, ({ desk }) =>
      Effect.zipRight(
        desk.administer,
        Effect.provideService(
          f(({ component, user = desk.identity.user }) => ({ user, component })),
          Actor,
          `rpc:${desk.identity.user}`
        )
      ))

  return {
    List: () => administering(() => consumers.list),
    Reset: ({ to, who }: Of & { readonly to: Wire.From }) =>
      administering((named) => consumers.reset(named(who), fromOf(to))),
    Repartition: ({ partitions, who }: Of & { readonly partitions: number | "none" }) =>
      administering((named) => consumers.repartition(named(who), partitions)),
    Remove: ({ deadLetters, who }: Of & { readonly deadLetters?: "keep" | "drop" | undefined }) =>
      administering((named) => consumers.remove(named(who), { deadLetters })),
    Redact: ({ which }: { readonly which: typeof Wire.Erasing.Type }) => administering(() => consumers.redact(which)),
    Audit: ({ before, limit, who }: {
      readonly who?: Wire.Who | undefined
      readonly before?: bigint | undefined
      readonly limit?: number | undefined
    }) =>
      administering((named) =>
        consumers.audit({ before, limit, consumer: who === undefined ? undefined : named(who) })
      ),
    Pause: ({ why, who }: Of & { readonly why?: string | undefined }) =>
      administering((named) => consumers.pause(named(who), why)),
    Resume: ({ who }: Of) => administering((named) => consumers.resume(named(who))),
    DeadLetters: ({ after, key, limit, who }: Of & {
      readonly key?: string | undefined
      readonly after?: bigint | undefined
      readonly limit?: number | undefined
    }) =>
      administering((named) =>
        Effect.gen(function*() {
          const found = yield* consumers.deadLetters(named(who), { key, after, limit })
          const letters = found.map(({ event, failedAt, redriving, ...letter }): Letter => ({
            ...letter,
            row: event.row,
            redrive: redriving,
            failedAt: failedAt.getTime()
          }))
          const kept = Wire.fitting(letters, answerBytes, ({ error, row }) => Wire.sizeOf(row) + error.length)
          return toLetters(kept, kept.length < letters.length)
        })
      ),
    Redrive: ({ which, who }: Of & { readonly which: typeof Wire.Which.Type }) =>
      administering((named) => consumers.redrive(named(who), which)),
    Drop: ({ which, who }: Of & { readonly which: typeof Wire.Which.Type }) =>
      administering((named) => consumers.drop(named(who), which))
  }
}
