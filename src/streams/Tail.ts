/**
 * One tail for a process: reads the end of the log once and keeps the last rows in memory, from where every subscriber
 * takes what it needs at its own pace. There are no queues for each subscriber: who is slow falls behind what is kept,
 * reads pages by itself, and meets the tail again; nobody else notices, and memory does not grow.
 *
 * The tail reads only when somebody has taken the last of what is kept, one page ahead of who is at its end: back-pressure
 * reaches the database, and the database works while the page before is decoded and handled.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Idle } from "./Idle.js"

export interface Options<R, E> {
  /** The rows after a position, oldest first; empty if there are none yet. */
  readonly read: (after: bigint, wasEmpty: boolean) => Effect.Effect<ReadonlyArray<R>, E>
  readonly idle: Idle
  readonly size: (row: R) => number
  /** How much is kept. */
  readonly maxRows: number
  readonly maxSize: number
}

export interface Member<R, E> {
  /**
   * At most `limit` rows after the position, as soon as there are any. Undefined: the position is before what is kept,
   * where others read; read a page and come again.
   */
  readonly next: (position: bigint, limit: number) => Effect.Effect<ReadonlyArray<R> | undefined, E>
}

export interface Tail<R, E> {
  readonly join: Effect.Effect<Member<R, E>, never, Scope.Scope>
  /** What is kept: rows after `from` up to `to`. */
  readonly kept: () => { readonly from: bigint; readonly to: bigint; readonly rows: number }
}

interface Page<R> {
  readonly rows: ReadonlyArray<R>
  readonly upTo: bigint
  readonly size: number
}

interface Seat {
  position: bigint
  /** For how many milliseconds it may still hold up the others. */
  patience: number
  /** When it asked last, by a clock in milliseconds; Infinity while it waits for rows. */
  asked: number
}

/**
 * Subscribers of the same speed drift apart by their last acknowledgements. So that they need not read pages of their own
 * for it, the tail waits a moment before it gives up rows that one of them has not taken: so many milliseconds, which it
 * earns back page by page. Who takes 100 ms for a page holds up the others by 2 of 100, who stands still by 25 once.
 */
const patience = 25
const earned = 2

/** Who has not asked for so many milliseconds does not keep the tail where it is from those who are further back. */
const presence = 50

export const make = <R extends { readonly id: bigint }, E>(
  options: Options<R, E>
): Effect.Effect<Tail<R, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    let pages: Array<Page<R>> = []
    let from = 0n
    let to = 0n
    let rows = 0
    let size = 0
    const members = new Set<Seat>()
    const demand = yield* Effect.makeLatch(false)
    let waiting = 0
    /** Whether somebody has taken the last of what is kept, and will come for the next page. */
    let ahead = false
    const self = yield* Effect.fiberId
    let more = Deferred.unsafeMake<void, E>(self)

    const jump = (position: bigint) => {
      pages = []
      from = to = position
      rows = size = 0
    }

    const append = (found: ReadonlyArray<R>) => {
      const upTo = found[found.length - 1]!.id
      const bytes = found.reduce((sum, row) => sum + options.size(row), 0)
      pages.push({ rows: found, upTo, size: bytes })
      to = upTo
      rows += found.length
      size += bytes
      while (pages.length > 1 && (rows > options.maxRows || size > options.maxSize)) {
        const oldest = pages.shift()!
        from = oldest.upTo
        rows -= oldest.rows.length
        size -= oldest.size
      }
    }

    /** Whether the next page would take rows from somebody who deserves a moment. */
    const mustWait = (): boolean => {
      const oldest = pages[0]
      if (
        oldest === undefined || (rows + oldest.rows.length <= options.maxRows && size + oldest.size <= options.maxSize)
      ) {
        return false
      }
      let wait = false
      for (const seat of members) {
        if (seat.position < from || seat.position >= oldest.upTo || seat.patience <= 0) continue
        seat.patience--
        wait = true
      }
      return wait
    }

    const wake = (exit: Effect.Effect<void, E>) => {
      const woken = more
      more = Deferred.unsafeMake<void, E>(self)
      Deferred.unsafeDone(woken, exit)
    }

    let wasEmpty = true
    const step = Effect.gen(function*() {
      if (waiting === 0 && !ahead) {
        yield* demand.close
        if (waiting === 0 && !ahead) yield* demand.await
      }
      while (mustWait()) yield* Effect.sleep(1)
      const after = to
      ahead = false
      const found = yield* options.read(after, wasEmpty)
      if (after !== to) return wake(Effect.void)
      wasEmpty = found.length === 0
      if (wasEmpty) return yield* options.idle.pause
      append(found)
      yield* options.idle.busy
      wake(Effect.void)
    })
    yield* Effect.forkScoped(Effect.forever(
      // who waits is told, and asks again by a schedule of its own
      Effect.catchAllCause(step, (cause) => Effect.sync(() => wake(Effect.failCause(cause))))
    ))

    /** The page of the row after a position that is kept. */
    const pageAfter = (position: bigint): number => {
      let first = pages.length
      while (first > 0 && pages[first - 1]!.upTo > position) first--
      return first
    }

    /** At most `limit` rows after a position that is kept. */
    const take = (position: bigint, limit: number): ReadonlyArray<R> => {
      const first = pageAfter(position)
      const taken: Array<R> = []
      for (let p = first; p < pages.length && taken.length < limit; p++) {
        const page = pages[p]!.rows
        let start = 0
        if (p === first) { while (page[start]!.id <= position) start++ }
        if (start === 0 && taken.length === 0 && page.length === limit) return page
        for (let i = start; i < page.length && taken.length < limit; i++) taken.push(page[i]!)
      }
      return taken
    }

    /** Whether somebody else reads where rows are kept. */
    const isRead = (member: Seat): boolean => {
      const since = performance.now() - presence
      for (const other of members) {
        if (other !== member && other.asked >= since && other.position >= from && other.position <= to) return true
      }
      return false
    }

    const next = (member: Seat, position: bigint, limit: number): ReturnType<Member<R, E>["next"]> =>
      Effect.suspend((): ReturnType<Member<R, E>["next"]> => {
        member.position = position
        member.asked = performance.now()
        if (position < from || position > to) {
          // where nobody else reads the tail comes to who needs it
          if (!isRead(member)) jump(position)
          else if (position < from) return Effect.succeed(undefined)
          // who is a little ahead, by pages of its own, is soon met
          else if (position - to > BigInt(options.maxRows)) jump(position)
        }
        if (position < to) {
          const taken = take(position, limit)
          const last = taken[taken.length - 1]!.id
          if (last >= pages[pageAfter(position)]!.upTo) member.patience = Math.min(patience, member.patience + earned)
          if (last === to) {
            ahead = true
            demand.unsafeOpen()
          }
          return Effect.succeed(taken)
        }
        member.patience = patience
        member.asked = Infinity
        waiting++
        demand.unsafeOpen()
        return Effect.zipRight(
          Effect.ensuring(Deferred.await(more), Effect.sync(() => waiting--)),
          next(member, position, limit)
        )
      })

    return {
      join: Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const member: Seat = { position: -1n, patience, asked: -Infinity }
            members.add(member)
            return member
          }),
          (member) => Effect.sync(() => members.delete(member))
        ),
        (member) => ({ next: (position, limit) => next(member, position, limit) })
      ),
      kept: () => ({ from, to, rows })
    }
  })
