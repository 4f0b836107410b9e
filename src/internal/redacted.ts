/**
 * What is left of an event that was erased, in the log and in the history alike.
 */
export const redactedData = "null"
export const redactedMeta = `{"redacted":true}`

/** What tells it from any other meta: in the text of a string its quotes would be escaped. */
export const redactedMark = `"redacted":true`

export const isRedacted = ({ meta }: { readonly meta: string | null }): boolean => meta?.includes(redactedMark) === true
