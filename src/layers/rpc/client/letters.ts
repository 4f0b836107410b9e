import type { Letter } from "../../../services/EventStore.js"
import type * as Wire from "../wire.js"

/** Dead letters as the server has sent them. */
export const lettersOf = ({ about, rows }: typeof Wire.Letters.Type): ReadonlyArray<Letter> =>
  rows.flatMap((row, i) => about[i] === undefined ? [] : [{ row, ...about[i] }])
