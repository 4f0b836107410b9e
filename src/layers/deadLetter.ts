import type { StoredEvent } from "../Event.js"
import type { DeadLetter } from "../services/Consumers.js"
import type { Letter } from "../services/EventStore.js"

/** A dead letter as users see it. */
export const toDeadLetter =
  (decode: (row: StoredEvent) => any) =>
  ({ attempts, error, failedAt, parked, redrive, row }: Letter): DeadLetter<any> => ({
    event: decode(row),
    error,
    attempts,
    parked,
    redriving: redrive,
    failedAt: new Date(failedAt)
  })
