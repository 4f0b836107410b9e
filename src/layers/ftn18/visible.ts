/**
 * Which events FTN18 clients see: those that FTN18 has a form for. The log says once what they do not see.
 */
import * as Effect from "effect/Effect"
import type { Unknown } from "../../Event.js"
import { typePattern, type WireEvent, wireEvent } from "./events.js"

/** So many types are remembered; beyond, nothing more is said. */
const mostSaid = 1000

/** What has been said, by this process. */
const said = new Set<string>()

export const visible = (events: ReadonlyArray<Unknown>): Effect.Effect<ReadonlyArray<WireEvent>> =>
  Effect.suspend(() => {
    const seen: Array<WireEvent> = []
    const hidden: Array<string> = []
    for (const event of events) {
      const wire = wireEvent(event)
      if (typeof wire === "object") {
        seen.push(wire)
        continue
      }
      const key = `${event.type} ${wire}`
      if (said.has(key) || said.size >= mostSaid) continue
      said.add(key)
      hidden.push(
        wire === "type"
          ? `Events of type ${event.type} are not shown to FTN18 clients: their types are ${typePattern.source}`
          : `Event ${event.id} of type ${event.type} is not shown to FTN18 clients: its time stamp has no form there`
      )
    }
    return Effect.as(Effect.forEach(hidden, (text) => Effect.logWarning(text), { discard: true }), seen)
  })
