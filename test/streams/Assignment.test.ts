/** The assignment of partitions to members, by its properties. */
import * as Fc from "effect/FastCheck"
import { describe, expect, it } from "vitest"
import { assign, type Owners } from "../../src/streams/Assignment.js"

const member = Fc.integer({ min: 0, max: 11 }).map((n) => `m${n}`)
const members = Fc.uniqueArray(member, { minLength: 1, maxLength: 10 })
/** Also of those who are no members any more. */
const owners = Fc.array(Fc.option(member, { nil: undefined }), { minLength: 1, maxLength: 64 })
const situation = Fc.record({ members, owners })
const holds = (property: (members: ReadonlyArray<string>, owners: Owners) => void) =>
  Fc.assert(Fc.property(situation, ({ members, owners }) => property(members, owners)), { numRuns: 2000 })

const countOf = (owners: Owners, member: string) => owners.filter((owner) => owner === member).length
const moved = (from: Owners, to: Owners, members: ReadonlyArray<string>) =>
  from.filter((owner, i) => owner !== undefined && members.includes(owner) && owner !== to[i]).length

describe("The assignment of partitions", () => {
  it("every partition has an owner that is a member", () =>
    holds((members, owners) => {
      const assigned = assign(members, owners)
      expect(assigned.length).toBe(owners.length)
      for (const owner of assigned) expect(members).toContain(owner)
    }))

  it("members have equally many, or one more", () =>
    holds((members, owners) => {
      const assigned = assign(members, owners)
      const counts = members.map((member) => countOf(assigned, member))
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
    }))

  it("no balanced assignment takes fewer partitions from those who have them", () =>
    holds((members, owners) => {
      const least = Math.floor(owners.length / members.length)
      const larger = owners.length % members.length
      const counts = members.map((member) => countOf(owners, member)).sort((a, b) => b - a)
      // the lower bound, whoever has the one more
      const surplus = counts.reduce((sum, n, i) => sum + Math.max(0, n - (i < larger ? least + 1 : least)), 0)
      expect(moved(owners, assign(members, owners), members)).toBe(surplus)
    }))

  it("it is the same in all processes: the order in which they see the members does not matter", () =>
    holds((members, owners) => {
      expect(assign([...members].reverse(), owners)).toEqual(assign(members, owners))
      expect(assign([...members].sort(), owners)).toEqual(assign(members, owners))
    }))

  it("what it answers, it answers again", () =>
    holds((members, owners) => {
      const assigned = assign(members, owners)
      expect(assign(members, assigned)).toEqual(assigned)
    }))

  it("while partitions change hands one by one, nobody is asked for more than at first", () =>
    Fc.assert(Fc.property(situation, Fc.infiniteStream(Fc.nat()), ({ members, owners }, choices) => {
      let now: Owners = owners.map((owner) => owner !== undefined && members.includes(owner) ? owner : undefined)
      const before = now
      const goal = assign(members, now)
      let steps = 0
      while (now.some((owner, i) => owner !== goal[i])) {
        const asked = assign(members, now)
        // one of those that differ is let go, or taken
        const differ = now.flatMap((owner, i) => owner === asked[i] ? [] : [i])
        const [choice] = [...choices.take(1)]
        const i = differ[choice! % differ.length]
        if (i === undefined) break
        now = now.map((owner, j) => j !== i ? owner : owner === undefined ? asked[i] : undefined)
        expect(++steps).toBeLessThan(1000)
      }
      expect(moved(before, now, members)).toBeLessThanOrEqual(moved(before, goal, members))
    })))

  it("without members nobody owns anything", () => {
    expect(assign([], ["a", undefined])).toEqual([undefined, undefined])
  })

  it("an example: one leaves, one joins", () => {
    expect(assign(["a", "b"], ["a", "a", "b", "b", "c", "c"])).toEqual(["a", "a", "b", "b", "a", "b"])
    expect(assign(["a", "b", "c"], ["a", "a", "a", "b", "b", "b"])).toEqual(["a", "a", "c", "b", "b", "c"])
  })
})
