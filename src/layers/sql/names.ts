/**
 * The tables and routines of one stream, qualified and quoted. A stream is its prefix within a schema (PostgreSQL), a
 * database (MySQL/MariaDB) or a file (SQLite).
 */
export interface Names {
  readonly prefix: string
  readonly queue: string
  readonly log: string
  readonly head: string
  readonly meta: string
  readonly gate: string
  readonly consumers: string
  readonly partitions: string
  readonly leases: string
  readonly deadLetters: string
  readonly generations: string
  readonly retention: string
  readonly audit: string
  readonly migrations: string
  /** Routines of PostgreSQL and MySQL/MariaDB. */
  readonly move: string
  readonly sequence: string
  readonly append: string
  /** A table or routine of this stream by its plain name. */
  readonly of: (name: string) => string
}

export const prefixPattern = /^[a-z][a-z0-9_]{0,30}$/

export const make = (schema: string, prefix: string, quote: (identifier: string) => string): Names => {
  const of = (name: string) => `${quote(schema)}.${quote(prefix + name)}`
  return {
    prefix,
    queue: of("queue"),
    log: of("log"),
    head: of("head"),
    meta: of("meta"),
    gate: of("gate"),
    consumers: of("consumers"),
    partitions: of("partitions"),
    leases: of("leases"),
    deadLetters: of("dead_letters"),
    generations: of("generations"),
    retention: of("retention"),
    audit: of("audit"),
    migrations: of("migrations"),
    move: of("move"),
    sequence: of("sequence"),
    append: of("append"),
    of
  }
}

export const doubleQuotes = (identifier: string) => `"${identifier.replaceAll("\"", "\"\"")}"`
export const backticks = (identifier: string) => `\`${identifier.replaceAll("`", "``")}\``
