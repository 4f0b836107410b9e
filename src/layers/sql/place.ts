/**
 * Whose cursor it is. A consumer has one row in `consumers`, and while it has partitions one in `partitions` for each: with
 * an epoch and a lease of its own, so that claim, renew, step and settle are the same for both. `local:C#3` is the ident of
 * partition 3 of `local:C`, `local:C@M` that of the lease by which M is a member of its group: neither character can be in
 * a component.
 *
 * Invariants (test/Groups.test.ts, test/faults/groups.test.ts):
 * - The cursor of a consumer with partitions is never beyond the smallest of theirs: the discarder looks at consumers only.
 *   It moves by `group` alone, fenced by the consumer's own epoch.
 * - What raises the epoch of a consumer raises those of its partitions, too. They are never smaller than its own, and those
 *   of a new layout begin above all of the old one: nobody who worked on an old layout can move a cursor of the new one.
 * - Rows are locked in the order gate, lease, consumer, partitions, dead letters.
 */
import type { Names } from "./names.js"

export const partitionIdent = (ident: string, partition: number): string => `${ident}#${partition}`
export const memberIdent = (ident: string, member: string): string => `${ident}@${member}`

/** The parts of an ident. A user may have an @, a component has none. */
export const partsOf = (
  ident: string
): { readonly consumer: string; readonly partition: number | undefined; readonly member: string | undefined } => {
  const component = ident.lastIndexOf(":")
  const [hash, at] = [ident.indexOf("#", component), ident.indexOf("@", component)]
  if (hash >= 0) {
    return { consumer: ident.slice(0, hash), partition: Number(ident.slice(hash + 1)), member: undefined }
  }
  if (at >= 0) return { consumer: ident.slice(0, at), partition: undefined, member: ident.slice(at + 1) }
  return { consumer: ident, partition: undefined, member: undefined }
}

export interface Place {
  readonly table: string
  readonly consumer: string
  readonly partition: number | undefined
  /** Condition on its row, by the name of the table in the statement. Idents were checked: they need no escaping. */
  readonly is: (alias?: string) => string
  /** Its row as `r`, and `c`, the consumer's. */
  readonly from: string
}

export const placeOf = (names: Names, ident: string): Place => {
  const { consumer, partition } = partsOf(ident)
  const column = (alias: string | undefined, name: string) => alias === undefined ? name : `${alias}.${name}`
  return partition === undefined
    ? {
      table: names.consumers,
      consumer,
      partition,
      is: (alias) => `${column(alias, "ident")} = '${consumer}'`,
      from: `${names.consumers} r JOIN ${names.consumers} c ON c.ident = r.ident`
    }
    : {
      table: names.partitions,
      consumer,
      partition,
      is: (alias) => `${column(alias, "ident")} = '${consumer}' AND ${column(alias, "part")} = ${partition}`,
      from: `${names.partitions} r JOIN ${names.consumers} c ON c.ident = r.ident`
    }
}

/** Whether it may be claimed, as far as its rows `r` and `c` are concerned. */
export const claimable = ({ partition }: Place): string =>
  `c.paused IS NULL AND c.partitions ${partition === undefined ? "= 0" : "> 0"}`

/** What is left of the leases of partitions. */
export const dropPartitionLeases = (names: Names, ident: string): string => {
  const name = `consumer:${ident}#`
  return `DELETE FROM ${names.leases} WHERE substr(name, 1, ${name.length}) = '${name}'`
}

/** Goes with everything that raises the epoch of a consumer, after it. */
export const raisePartitions = (names: Names, ident: string): string =>
  `UPDATE ${names.partitions} SET epoch = epoch + 1 WHERE ident = '${ident}'`
