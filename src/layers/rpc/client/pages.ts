import type { Page } from "../../reader.js"
import type * as Wire from "../wire.js"

/** A page as the server has sent it: of the log it is known that it goes so far. */
export const pageOf = ({ generation, rows, upTo }: typeof Wire.Page.Type): Page => ({
  look: { generation, head: upTo, cursor: undefined, bound: undefined, paused: false, exclusive: false },
  rows,
  upTo
})
