/** An event on a line, for people. */
import type { Unknown } from "../../Event.js"
import { plain } from "../text.js"

export const eventLine = ({ id, json, key, ts, type }: Unknown): string =>
  plain(`${id}  ${new Date(ts).toISOString()}  ${type}  ${key ?? "-"}  ${json}`)
