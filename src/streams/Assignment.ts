/**
 * Who should own which partition: a pure function that gives the same answer in every process that sees the same. Nothing
 * rests on its being the same everywhere: leases decide who has a partition. It decides who asks for it, and who lets go.
 *
 * Total: every partition has an owner while there is a member. Balanced: members have equally many, or one more. Minimal: no
 * assignment that is balanced takes fewer partitions from members that have them. Stable: what it answers, it answers again.
 */

/** By number, the member that has the partition now, or should. Undefined: nobody. */
export type Owners = ReadonlyArray<string | undefined>

const compare = (a: string, b: string): number => a < b ? -1 : a > b ? 1 : 0

/** `owners`: those of today, by partition; who is no member counts as nobody. */
export const assign = (members: ReadonlyArray<string>, owners: Owners): Owners => {
  const sorted = [...new Set(members)].sort(compare)
  if (sorted.length === 0) return owners.map(() => undefined)
  const count = new Map(sorted.map((member) => [member, 0]))
  for (const owner of owners) {
    const n = owner === undefined ? undefined : count.get(owner)
    if (n !== undefined) count.set(owner!, n + 1)
  }
  // the one more goes to those who have most: they would have to give up most
  const least = Math.floor(owners.length / sorted.length)
  const larger = owners.length % sorted.length
  const byCount = [...sorted].sort((a, b) => count.get(b)! - count.get(a)! || compare(a, b))
  const room = new Map(byCount.map((member, i) => [member, i < larger ? least + 1 : least]))
  const take = (member: string): boolean => {
    const left = room.get(member) ?? 0
    if (left > 0) room.set(member, left - 1)
    return left > 0
  }
  const kept = owners.map((owner) => owner !== undefined && take(owner) ? owner : undefined)
  let next = 0
  return kept.map((owner) => {
    if (owner !== undefined) return owner
    while (!take(sorted[next]!)) next++
    return sorted[next]
  })
}
