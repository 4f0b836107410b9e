/** What people write on a command line and in a query: lists, times, places. */
import type { From } from "../services/Poller.js"

/** Separated by commas. */
export const listOf = (text: string | undefined): ReadonlyArray<string> | undefined =>
  text?.split(",").map((one) => one.trim()).filter((one) => one !== "")

/** In ISO form; undefined: it is none. */
export const timeOf = (text: string): Date | undefined => {
  const time = new Date(text)
  return /^\d{4}-\d\d-\d\d/.test(text) && Number.isFinite(time.getTime()) ? time : undefined
}

/** `beginning`, `end`, an event id or a time; undefined: it is none of them. */
export const fromOf = (text: string): From | undefined => {
  if (text === "beginning" || text === "end") return text
  if (/^\d+$/.test(text)) return { after: text }
  const time = timeOf(text)
  return time === undefined ? undefined : { time }
}
