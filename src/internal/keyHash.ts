/**
 * Which partition an event belongs to: the first 32 bits of MD5 over the key in UTF-8, unsigned. MD5 because every
 * database that writers in other languages use has it: the sequencer computes the same number for rows that came
 * without one.
 */
import { createHash } from "node:crypto"

export const keyHash = (key: string): number => createHash("md5").update(key, "utf8").digest().readUInt32BE(0)
