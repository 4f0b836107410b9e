/**
 * What the facts about a stream mean: pure, so that each finding can be read beside the figures that lead to it.
 */
import type { ConsumerRow, Retention, Setting, Vitals } from "../services/EventStore.js"
import type { Finding } from "../services/Health.js"
import type { Position } from "../services/HistoryStore.js"
import { archivers } from "./sql/Dialect.js"
import { expected } from "./sql/migrate.js"
import { partsOf } from "./sql/place.js"

type Level = Finding["level"]

const finding = (check: string, level: Level, found: string, advice = ""): Finding => ({ check, level, found, advice })

/** Milliseconds as a person says them. */
export const spoken = (ms: number): string => {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}

export const schema = ({ schemaVersion }: Vitals): Finding => {
  const found = `The tables have version ${schemaVersion}, this library works with ${expected} and ${expected + 1}.`
  if (schemaVersion === expected) return finding("schema", "ok", found)
  if (schemaVersion < expected) return finding("schema", "problem", found, "Run EventStream.migrate.")
  return finding(
    "schema",
    schemaVersion === expected + 1 ? "warning" : "problem",
    found,
    "Update effect-eventstream in this process."
  )
}

/** How long the oldest committed event has been without an id, in milliseconds. */
export const unsequencedFor = ({ now, unsequenced }: Vitals): number | undefined =>
  unsequenced.oldest === undefined ? undefined : Math.max(0, now - unsequenced.oldest)

export const sequencer = (vitals: Vitals, limit: number): Finding => {
  if (vitals.kind === "SQLite") return finding("sequencer", "ok", "Events get their ids when they are committed.")
  const age = unsequencedFor(vitals)
  if (age === undefined) return finding("sequencer", "ok", "No committed event waits for its id.")
  const { count } = vitals.unsequenced
  const found = `${count >= 10_000 ? "10 000 or more" : count} committed events wait for their ids, the oldest for ` +
    `${spoken(age)}.`
  if (age < limit) return finding("sequencer", "ok", found)
  return finding(
    "sequencer",
    "problem",
    found,
    "Nobody sequences, or not as fast as events come: start a process with the stream's layer and without" +
      " sequencer: \"off\", and look in the log of those that run for errors of the database."
  )
}

/** By the name that a user gives it, or as it is stored. */
const isOneOf = (ident: string, names: ReadonlyArray<string>): boolean =>
  names.some((name) => name === ident || `local:${name}` === ident)

export const considered = (
  rows: ReadonlyArray<ConsumerRow>,
  except: ReadonlyArray<string>
): ReadonlyArray<ConsumerRow> => rows.filter(({ ident }) => !isOneOf(ident, except))

/** Who holds a consumer back, and what to do. */
const culprit = (row: ConsumerRow): readonly [who: string, advice: string] => {
  const { ident, lease, partitions, paused } = row
  if (paused !== undefined) {
    return [`is paused (${paused})`, `Remove the cause, then resume ${ident}.`]
  }
  if (partitions.length > 0) return culpritOf(row)
  if (lease !== undefined) {
    return [
      `has an active receiver (${lease.owner})`,
      `Look in the log of ${ident}'s receiver: its handler is slow, hangs, or fails and is tried again.`
    ]
  }
  return [
    "has no receiver",
    `Start the receiver of ${ident}, or poll and acknowledge; remove it if nobody needs it any more.`
  ]
}

/** The same of a consumer with partitions: the one that is furthest behind. */
const culpritOf = ({ ident, partitions }: ConsumerRow): readonly [who: string, advice: string] => {
  const ownerOf = ({ lease }: ConsumerRow["partitions"][number]) =>
    lease !== undefined && lease.expiresIn > 0 ? lease.owner : undefined
  const last = partitions.reduce((least, one) => one.cursor < least.cursor ? one : least)
  const free = partitions.filter((one) => ownerOf(one) === undefined).map(({ number }) => number)
  const members = new Set(partitions.map(ownerOf).filter((owner) => owner !== undefined))
  if (free.length > 0) {
    return [
      free.length === partitions.length
        ? `has ${partitions.length} partitions, which nobody has`
        : `has ${partitions.length} partitions, of which nobody has ${free.join(", ")}`,
      `Start a run of ${ident} with { partitions: ${partitions.length} }, or look why those that run do not take them;` +
      " remove it if nobody needs it any more."
    ]
  }
  return [
    `has ${partitions.length} partitions in ${members.size} runs (${ownerOf(last)} has ${last.number}, the last one)`,
    `Look in the log of the run ${
      ownerOf(last)
    } of ${ident}: its handler is slow, hangs, or fails and is tried again on an` +
    ` event of partition ${last.number}.`
  ]
}

export const consumer = (row: ConsumerRow, limit: number): Finding => {
  const [who, advice] = culprit(row)
  const age = row.waitingSince === undefined ? undefined : Math.max(0, row.now - row.waitingSince)
  const found = `${row.ident} ${who}; ${
    age === undefined ? "it has acknowledged everything" : `its first unacknowledged event is ${spoken(age)} old`
  }.`
  if (age !== undefined && age >= limit) return finding("consumer", "problem", found, advice)
  return row.paused === undefined
    ? finding("consumer", "ok", found)
    : finding("consumer", "warning", found, advice)
}

export const deadLetters = (rows: ReadonlyArray<ConsumerRow>): ReadonlyArray<Finding> =>
  rows.filter((row) => row.deadLetters > 0).map(({ deadLetters, ident, parked }) =>
    finding(
      "consumer",
      "warning",
      `${ident} has given up ${deadLetters} events${parked > 0 ? `, ${parked} of them parked with their keys` : ""}.`,
      `Read the dead letters of ${ident}, remove the cause, then redrive or drop them.`
    )
  )

export const settings = (found: ReadonlyArray<Setting>): ReadonlyArray<Finding> =>
  found.map(({ advice, level, name, value }) => finding("settings", level, `${name} is ${value}.`, advice))

const skewToLookAt = 1000
const skewToRepair = 60_000

/** `doubt`: half the round trip in which the skew was measured. */
export const clock = (skew: number, doubt: number): Finding => {
  const certain = Math.abs(skew) - doubt
  const found = `This process's clock is ${spoken(Math.abs(skew))} ${skew < 0 ? "behind" : "ahead of"} the database's` +
    ` (± ${spoken(doubt)}).`
  if (certain <= skewToLookAt) return finding("clock", "ok", found)
  return finding(
    "clock",
    certain > skewToRepair ? "problem" : "warning",
    found,
    "Synchronize both clocks (NTP): times that are given to queries and resets are compared with the database's."
  )
}

export const leases = (vitals: Vitals, rows: ReadonlyArray<ConsumerRow>): ReadonlyArray<Finding> => {
  const registered = new Set(rows.map(({ ident }) => ident))
  const found = vitals.expired.map(({ ident, owner, since }) => {
    const { consumer, member } = partsOf(ident)
    if (member !== undefined) {
      return finding(
        "leases",
        "ok",
        `The run ${member} of ${consumer} has not been heard of for ${spoken(vitals.now - since)}: this does no harm.`
      )
    }
    const ran = `The lease of ${ident} ran out ${spoken(vitals.now - since)} ago, and ${owner} has neither renewed it` +
      " nor given it back."
    return registered.has(consumer)
      ? finding(
        "leases",
        "warning",
        ran,
        `The receiver of ${consumer} was killed, hangs, or cannot reach the database, and no other one has taken over:` +
          " look at it, or start another one."
      )
      : finding("leases", "ok", `${ran} ${consumer} is not registered any more: this does no harm.`)
  })
  return found.length > 0 ? found : [finding("leases", "ok", "No lease was left behind.")]
}

/** What is known of the history: undefined where the stream has none. */
export type Archived =
  | { readonly _tag: "Unreachable"; readonly why: string }
  | { readonly _tag: "Read"; readonly last: Position | undefined; readonly ofGeneration: Position | undefined }

export const archiving = (rows: ReadonlyArray<ConsumerRow>, { archiveRequired }: Retention): Finding =>
  archiveRequired && !rows.some(({ ident }) => archivers(ident))
    ? finding(
      "history",
      "warning",
      "Events have to be archived before they are discarded, and no archiver is registered.",
      "Start an archiver: until then nothing is discarded that is not archived yet, and the log grows."
    )
    : finding("history", "ok", archiveRequired ? "An archiver is registered." : "Nothing has to be archived.")

const runRestored = "The database was put back in time: stop everybody who emits, run evt restored, then start again."

export const history = ({ generation, head }: Vitals, archived: Archived): ReadonlyArray<Finding> => {
  if (archived._tag === "Unreachable") {
    return [
      finding("history", "problem", `The history cannot be read: ${archived.why}.`, "Look whether its database runs.")
    ]
  }
  const { last, ofGeneration } = archived
  if (last === undefined) return [finding("history", "ok", "The history is empty.")]
  const reaches = finding(
    "history",
    "ok",
    `The history reaches to event ${last.id} of generation ${last.generation}.`
  )
  if (ofGeneration !== undefined && ofGeneration.id > head) {
    return [
      reaches,
      finding(
        "restored",
        "problem",
        `The history has event ${ofGeneration.id} of generation ${generation}, the last one given is ${head}.`,
        runRestored
      )
    ]
  }
  if (last.generation > generation) {
    return [
      reaches,
      finding(
        "restored",
        "problem",
        `The history has generation ${last.generation}, the database is in ${generation}.`,
        runRestored
      )
    ]
  }
  return [reaches, finding("restored", "ok", "The history has no event that the database does not know of.")]
}
