/**
 * Writing archived events: rows that are there already are left as they are. What can be large is cut by bytes first: one
 * statement is one packet, of which MySQL takes 16 MiB by default, and this writes texts there in hexadecimal.
 */
import type { ArchivedEvent } from "../../../services/HistoryStore.js"
import type { Names } from "../names.js"

const mostBytes = 4 * 1024 * 1024

const bytesOf = ({ data, key, meta, type }: ArchivedEvent): number =>
  Buffer.byteLength(data) + Buffer.byteLength(meta ?? "") + Buffer.byteLength(key ?? "") + Buffer.byteLength(type)

/** Runs of events of 4 MiB at most; a larger event alone. At least one run, which may be empty. */
export const cut = (events: ReadonlyArray<ArchivedEvent>): ReadonlyArray<ReadonlyArray<ArchivedEvent>> => {
  const runs: Array<Array<ArchivedEvent>> = []
  let run: Array<ArchivedEvent> = []
  let bytes = 0
  for (const event of events) {
    const size = bytesOf(event)
    if (run.length > 0 && bytes + size > mostBytes) {
      runs.push(run)
      run = []
      bytes = 0
    }
    run.push(event)
    bytes += size
  }
  runs.push(run)
  return runs
}

const columns = "(generation, id, uid, type, event_key, key_hash, meta, data, ts)"

export const postgres = (names: Names, events: ReadonlyArray<ArchivedEvent>): string =>
  `INSERT INTO ${names.of("history")} ${columns}
SELECT b.g, b.i, b.u, b.t, b.k, b.h, b.m, b.d, to_timestamp(b.s / 1000.0)
  FROM json_to_recordset(${dollars(document(events))}::json)
    AS b(g integer, i bigint, u text, t text, k text, h bigint, m text, d text, s bigint)
    ON CONFLICT DO NOTHING`

/** Nothing is escaped in it: a document of 4 MiB of backslashes takes a tenth of the time of a quoted one. */
const dollars = (text: string): string => {
  let tag = "$evt$"
  for (let n = 0; text.includes(tag); n++) tag = `$evt${n}$`
  return `${tag}${text}${tag}`
}

const document = (events: ReadonlyArray<ArchivedEvent>): string =>
  JSON.stringify(events.map((e) => ({
    g: e.generation,
    i: e.id.toString(),
    u: e.uid,
    t: e.type,
    k: e.key,
    h: e.keyHash,
    m: e.meta,
    d: e.data,
    s: e.ts
  })))

/** Not IGNORE, which would make errors warnings. Hexadecimal: whatever the session's sql_mode and character set. */
export const mysql = (names: Names, events: ReadonlyArray<ArchivedEvent>): string => {
  const text = (value: string | null) =>
    value === null ? "NULL" : value === "" ? "''" : `_utf8mb4 0x${Buffer.from(value, "utf8").toString("hex")}`
  const rows = events.map((e) =>
    `(${e.generation}, ${e.id}, ${text(e.uid)}, ${text(e.type)}, ${text(e.key)}, ${e.keyHash}, ${text(e.meta)}, ${
      text(e.data)
    }, TIMESTAMPADD(MICROSECOND, ${e.ts} * 1000, '1970-01-01'))`
  )
  return `INSERT INTO ${names.of("history")} ${columns} VALUES ${rows.join(",\n")}\nON DUPLICATE KEY UPDATE id = ${
    names.of("history")
  }.id`
}

/** So many rows have one statement on SQLite, which is prepared once; the rest goes row by row. */
const group = 100

/** Statements and their parameters: two texts for any number of events, so that the driver keeps them prepared. */
export const sqlite = (
  names: Names,
  events: ReadonlyArray<ArchivedEvent>
): ReadonlyArray<readonly [text: string, params: ReadonlyArray<unknown>]> => {
  const text = (rows: number) =>
    `INSERT INTO ${names.of("history")} ${columns} VALUES ${
      Array.from({ length: rows }, () => "(?, ?, ?, ?, ?, ?, ?, ?, ?)").join(", ")
    }
    ON CONFLICT (generation, id) DO NOTHING`
  const [many, one] = [text(group), text(1)]
  const statements: Array<readonly [string, ReadonlyArray<unknown>]> = []
  let n = 0
  for (; n + group <= events.length; n += group) statements.push([many, events.slice(n, n + group).flatMap(params)])
  for (; n < events.length; n++) statements.push([one, params(events[n]!)])
  return statements
}

const params = (e: ArchivedEvent): ReadonlyArray<unknown> => [
  e.generation,
  e.id,
  e.uid,
  e.type,
  e.key,
  e.keyHash,
  e.meta,
  e.data,
  e.ts
]
