/**
 * What requests and answers mean for the services.
 */
import type { Letter } from "../../services/EventStore.js"
import type { From } from "../../services/Poller.js"
import type * as Wire from "./wire.js"

/** Bytes of events in one answer: what is cut off is asked for next. */
export const answerBytes = 4 * 1024 * 1024

export const fromOf = (from: Wire.From): From =>
  typeof from === "object" && "time" in from ? { time: new Date(from.time) } : from

export const toLetters = (letters: ReadonlyArray<Letter>, more: boolean): typeof Wire.Letters.Type => ({
  rows: letters.map(({ row }) => row),
  about: letters.map(({ attempts, error, failedAt, parked, redrive }) => ({
    attempts,
    error,
    failedAt,
    parked,
    redrive
  })),
  more
})
