/**
 * What SQL computes on either side (`sumColumns`), of events in hand.
 */
import type { StoredEvent } from "../../Event.js"
import { isRedacted } from "../../internal/redacted.js"
import type { Sums } from "../../services/HistoryStore.js"

export const sumsOf = (events: ReadonlyArray<StoredEvent>): Sums => {
  let bytes = 0
  let hashes = 0n
  let redacted = 0
  for (const event of events) {
    bytes += Buffer.byteLength(event.type) + Buffer.byteLength(event.key ?? "") +
      Buffer.byteLength(event.meta ?? "{}") + Buffer.byteLength(event.data)
    hashes += BigInt(event.keyHash)
    if (isRedacted(event)) redacted++
  }
  return { count: events.length, bytes: BigInt(bytes), hashes, redacted }
}

export const sameSums = (a: Sums, b: Sums): boolean =>
  a.count === b.count && a.bytes === b.bytes && a.hashes === b.hashes && a.redacted === b.redacted

export const printSums = ({ bytes, count, hashes, redacted }: Sums): string =>
  `${count} events (${redacted} erased) of ${bytes} bytes with hashes ${hashes}`
