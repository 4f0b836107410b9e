/**
 * Text for terminals: nothing that comes from the database may steer one.
 */

// what starts an escape sequence is among them
// eslint-disable-next-line no-control-regex
const escapes = /\u001b\[[0-9;?]*[ -/]*[@-~]/g

export const withoutColours = (text: string): string => text.replaceAll(escapes, "")

/** Without colours and other control characters, on one line. */
export const plain = (text: string): string => withoutColours(text).replaceAll(/\p{Cc}/gu, " ")

/** Cut to so many characters, the last one says that there was more. */
export const cut = (text: string, width: number): string => {
  const characters = [...text]
  return characters.length <= width ? text : width < 1 ? "" : `${characters.slice(0, width - 1).join("")}…`
}

export const widthOf = (text: string): number => [...text].length
