/**
 * `pollEvents`. A list is empty only at the end of the stream: a client whose list is empty asks with the same id again,
 * and would never get past a stretch of events that it does not want or cannot see.
 */
import * as Effect from "effect/Effect"
import * as Consumer from "../../Consumer.js"
import type { EventId } from "../../EventId.js"
import type { Batch } from "../../services/Poller.js"
import type { Unknown } from "../../Event.js"
import type { Desk } from "../network/desk.js"
import { type Failure, invalid } from "./answer.js"
import { cut, EventList, type WireEvent } from "./events.js"
import { visible } from "./visible.js"

export interface Asked {
  readonly component: string
  readonly lastId: string | undefined
  readonly want: ReadonlyArray<string> | undefined
  /** Events at most. */
  readonly limit: number
  /** Bytes of the list at most. */
  readonly room: number
  readonly sizeOf: (event: WireEvent) => number
}

/** Where reading goes on after a batch without anything to show; undefined if that was the end. */
const onward = (asked: Asked, from: EventId | undefined, batch: Batch<Unknown>): EventId | undefined => {
  const { upTo } = batch
  if (upTo === undefined || upTo <= (from ?? 0n)) return undefined
  // with nothing left out by its type, an empty batch is the end; so it is where nothing is wanted
  return batch.events.length === 0 && (asked.want?.length ?? 0) === 0 ? undefined : upTo
}

export const poll = (desk: Desk, asked: Asked): Effect.Effect<EventList, Failure> => {
  const { component, limit, want } = asked
  const live = Consumer.isLive(component)

  const read = (lastId: string | EventId | undefined, from: EventId | undefined): Effect.Effect<EventList, Failure> =>
    Effect.flatMap(
      desk.poll(component, { lastId, want, limit }),
      (batch) =>
        Effect.flatMap(visible(batch.events), (events): Effect.Effect<EventList, Failure> => {
          if (events.length > 0) return listOf(events)
          const next = onward(asked, from, batch)
          if (next === undefined) return Effect.succeed(new EventList([]))
          // Acknowledged only where nothing can have been offered: all of it was of types that are never shown. What the
          // want leaves out is the poll's own business, which has moved the cursor unless something is unacknowledged.
          return read(live || batch.events.length > 0 ? next : lastId, next)
        })
    )

  const listOf = (events: ReadonlyArray<WireEvent>): Effect.Effect<EventList, Failure> => {
    const fitting = cut(events, asked.room, asked.sizeOf)
    return fitting.length > 0
      ? Effect.succeed(new EventList(fitting))
      : Effect.fail(invalid(
        `Event ${events[0]!.id} takes ${
          asked.sizeOf(events[0]!)
        } bytes, more than an answer of this version may have: ` +
          "poll with futoin.evt.poll:1.1"
      ))
  }

  const first = read(asked.lastId, asked.lastId === undefined ? undefined : BigInt(asked.lastId) as EventId)
  // FTN18 knows no id above the end: for who is not registered there is nothing after it
  return live ? Effect.catchTag(first, "CursorAhead", () => Effect.succeed(new EventList([]))) : first
}
