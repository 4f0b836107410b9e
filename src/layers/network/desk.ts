/**
 * What one user may do with a stream, whatever it comes over: its rights are checked, its consumers are its own, and it
 * learns nothing of others'. All servers ask it first; who receives is then served by `core.open`.
 */
import * as Effect from "effect/Effect"
import type { NewEvent, Unknown } from "../../Event.js"
import type { EventId } from "../../EventId.js"
import { Forbidden } from "../../EventStreamError.js"
import * as Consumer from "../../Consumer.js"
import type { Identity } from "../../services/Access.js"
import type { Service as Generator } from "../../services/Generator.js"
import type { Batch, From, PollError, PollOptions, Service as Poller } from "../../services/Poller.js"
import type * as EventStream from "../EventStream.js"

type Types = ReadonlyArray<string> | undefined

/** `component` is a component's name; the user is always the caller. */
export interface Desk {
  readonly identity: Identity
  /** The caller's consumer of that name. */
  readonly consumer: (component: string) => { readonly user: string; readonly component: string }
  readonly append: (
    events: ReadonlyArray<NewEvent>
  ) => Effect.Effect<ReadonlyArray<EventId>, Forbidden | Effect.Effect.Error<ReturnType<Generator["append"]>>>
  readonly register: (
    component: string,
    options?: { readonly from?: From | undefined; readonly mode?: "shared" | "exclusive" | undefined }
  ) => Effect.Effect<EventId | undefined, Forbidden | Effect.Effect.Error<ReturnType<Poller["register"]>>>
  readonly unregister: (
    component: string
  ) => Effect.Effect<void, Forbidden | Effect.Effect.Error<ReturnType<Poller["unregister"]>>>
  readonly poll: (
    component: string,
    options: Omit<PollOptions<any, never>, "want" | "catalog"> & { readonly want?: Types }
  ) => Effect.Effect<Batch<Unknown>, Forbidden | PollError>
  /** Whether the caller has the right to something. */
  readonly may: (right: "poll" | "push", component: string) => Effect.Effect<void, Forbidden>
  readonly administer: Effect.Effect<void, Forbidden>
}

export const make = ({ generator, poller }: EventStream.Service, identity: Identity): Desk => {
  const { rights, user } = identity
  const forbidden = (needs: string) => Effect.fail(new Forbidden({ user, needs }))
  const consumer = (component: string) => ({ user, component })

  const emits = (events: ReadonlyArray<NewEvent>): Effect.Effect<void, Forbidden> => {
    const { emit = true } = rights
    if (emit === true) return Effect.void
    if (emit === false) return forbidden("emit")
    const other = events.find(({ type }) => !emit.includes(type))
    return other === undefined ? Effect.void : forbidden(`emit ${other.type.slice(0, 64)}`)
  }
  const may: Desk["may"] = (right, component) => {
    const given = rights[right] ?? true
    if (given === false) return forbidden(right)
    return given === true || Consumer.isLive(component) ? Effect.void : forbidden(`${right} as a registered consumer`)
  }
  /** Registering is for who may then poll or receive. */
  const registers = (component: string) => Effect.orElse(may("poll", component), () => may("push", component))

  return {
    identity,
    consumer,
    append: (events) => Effect.zipRight(emits(events), generator.append(events)),
    register: (component, options) =>
      Effect.zipRight(registers(component), poller.register(consumer(component), options)),
    unregister: (component) => Effect.zipRight(registers(component), poller.unregister(consumer(component))),
    poll: (component, options) => Effect.zipRight(may("poll", component), poller.poll(consumer(component), options)),
    may,
    administer: rights.administer === true ? Effect.void : forbidden("administer")
  }
}
