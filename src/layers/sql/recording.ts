/**
 * The record of what an administrator does, written in the transaction that does it.
 */
import type { Names } from "./names.js"
import type { Words } from "./words.js"

/** A record of what is done, for the consumers that a condition finds: put before the statement that does it. */
export const recording = (
  names: Names,
  { concat, text }: Words,
  what: { readonly actor: string; readonly action: string; readonly detail: ReadonlyArray<string> },
  condition: string
): string =>
  `INSERT INTO ${names.audit} (actor, action, ident, detail)
SELECT ${text(what.actor)}, ${text(what.action)}, c.ident, ${
    concat(...what.detail)
  } FROM ${names.consumers} c WHERE ${condition}`

/** The same of something that needs no registered consumer, or is about none. */
export const recorded = (
  names: Names,
  { text }: Words,
  what: { readonly actor: string; readonly action: string; readonly ident?: string; readonly detail: unknown }
): string =>
  `INSERT INTO ${names.audit} (actor, action, ident, detail) VALUES (${text(what.actor)}, ${text(what.action)}, ${
    what.ident === undefined ? "NULL" : text(what.ident)
  }, ${text(JSON.stringify(what.detail))})`
