import type { Event } from "../../src/index.js"
import type { AccountChanged, NoteAdded } from "./events.js"

/** What is said of an event; of one that cannot be read, its id alone. */
export interface Seen {
  readonly id: string
  readonly transaction?: number | undefined
  readonly account?: number | undefined
  readonly version?: number | undefined
}

export const seen = (event: Event.Of<typeof AccountChanged | typeof NoteAdded> | Event.Unknown): Seen => {
  const id = event.id.toString()
  return event._tag !== "Known"
    ? { id }
    : event.type === "ACCOUNT_CHANGED"
    ? { id, transaction: event.data.transaction, account: event.data.account, version: event.data.version }
    : { id, transaction: event.data.transaction }
}

/** What one consumer saw, batch by batch, and whether it was what it had to see. */
export class Observation {
  delivered = 0
  duplicates = 0
  outOfOrder = 0
  /** Delivered again because the process was killed before it could acknowledge: allowed for its last batch. */
  redelivered = 0
  /** Delivered for the first time since it was started again: 0 would mean that the kill came too late to show anything. */
  sinceRestart: number | undefined
  private last = 0n
  private lastBatch: ReadonlySet<string> = new Set()
  private unacknowledged = new Set<string>()
  private readonly ids = new Set<string>()
  private readonly versions = new Map<number, number>()
  private readonly perTransaction = new Map<number, number>()

  /** The next batches come from a consumer that was started again. */
  restarted() {
    this.unacknowledged = new Set(this.lastBatch)
    this.sinceRestart = 0
  }

  see(batch: ReadonlyArray<Seen>) {
    for (const event of batch) this.one(event)
    this.lastBatch = new Set(batch.map(({ id }) => id))
  }

  private one({ account, id, transaction, version }: Seen) {
    if (this.ids.has(id)) {
      if (this.unacknowledged.delete(id)) this.redelivered++
      else this.duplicates++
      return
    }
    this.ids.add(id)
    this.delivered++
    if (this.sinceRestart !== undefined) this.sinceRestart++
    if (transaction !== undefined) {
      this.perTransaction.set(transaction, (this.perTransaction.get(transaction) ?? 0) + 1)
    }
    const inOrder = BigInt(id) > this.last &&
      (account === undefined || version === (this.versions.get(account) ?? 0) + 1)
    if (!inOrder) this.outOfOrder++
    this.last = BigInt(id)
    if (account !== undefined && version !== undefined) this.versions.set(account, version)
  }

  /**
   * Against how many events each committed transaction wrote. Transaction by transaction: in a sum, an event of one that
   * was rolled back would make up for one that was lost.
   */
  compare(committed: ReadonlyMap<number, number>) {
    let expected = 0
    let lost = 0
    for (const [transaction, events] of committed) {
      expected += events
      lost += Math.max(0, events - (this.perTransaction.get(transaction) ?? 0))
    }
    return { expected, lost, phantom: this.delivered - (expected - lost) }
  }
}
