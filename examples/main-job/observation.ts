import type { Event } from "../../src/index.js"
import type { AccountChanged, NoteAdded } from "./events.js"

export interface Seen {
  readonly id: string
  readonly account?: number | undefined
  readonly version?: number | undefined
}

/** What is said of an event; one that cannot be decoded would be missed in the versions of its account. */
export const seen = (event: Event.Of<typeof AccountChanged | typeof NoteAdded> | Event.Unknown): Seen => ({
  id: event.id.toString(),
  ...(event._tag === "Known" && event.type === "ACCOUNT_CHANGED"
    ? { account: event.data.account, version: event.data.version }
    : {})
})

/** What one consumer saw, and whether it was what it had to see. */
export class Observation {
  delivered = 0
  duplicates = 0
  outOfOrder = 0
  /** Delivered again because the process was killed before it could acknowledge: allowed, within one batch. */
  redelivered = 0
  readonly ids = new Set<string>()
  private last = 0n
  private resumed = false
  private readonly versions = new Map<number, number>()

  /** The next events come from a consumer that was started again. */
  restarted() {
    this.resumed = true
  }

  see({ account, id, version }: Seen) {
    if (this.ids.has(id)) {
      if (this.resumed) this.redelivered++
      else this.duplicates++
      return
    }
    this.resumed = false
    this.delivered++
    this.ids.add(id)
    const inOrder = BigInt(id) > this.last &&
      (account === undefined || version === (this.versions.get(account) ?? 0) + 1)
    if (!inOrder) this.outOfOrder++
    this.last = BigInt(id)
    if (account !== undefined && version !== undefined) this.versions.set(account, version)
  }
}
