/**
 * A remote stream as the archiver reads it.
 */
import * as Effect from "effect/Effect"
import type { StoreError } from "../../../EventStreamError.js"
import type { Service as Pusher } from "../../../services/Pusher.js"
import { receiving, type Source } from "../../archive/source.js"
import { detached } from "../../sql/Database.js"
import type { Calls } from "./calls.js"

/** The stream is asked who it is by the first who needs to know. */
export const make = ({ call, client }: Calls, pusher: Pusher, stream: string): Source => {
  // what an archiver asks has no other answer than that, or that it is not answered
  const ask = <A>(effect: Effect.Effect<A, any>) => effect as Effect.Effect<A, StoreError>
  return {
    stream,
    outside: (_, effect) => detached(effect),
    subscribe: receiving(pusher),
    look: ask(call("archive", client.ArchiverLook({}))),
    head: ask(call("archive", client.ArchiverEnd({ sequence: true }))),
    last: ask(call("archive", client.ArchiverEnd({ sequence: false }))),
    generations: ask(call("archive", client.Generations({}))),
    retention: ask(call("archive", client.Retention({}))),
    page: (options) => ask(call("archive", client.LogPage(options))),
    sums: undefined
  }
}

export const streamOf = ({ call, client }: Calls): Effect.Effect<string, StoreError> =>
  call("archive", client.Stream({})) as Effect.Effect<string, StoreError>
