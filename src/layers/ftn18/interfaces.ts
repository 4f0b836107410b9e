/**
 * What FTN18 1.1 lets a client call: functions, their parameters, versions and limits.
 */
import { typePattern } from "./events.js"

export const kib64 = 64 * 1024
const mib8 = 8 * 1024 * 1024

export type FunctionName = "ping" | "addEvent" | "registerConsumer" | "pollEvents" | "readyToReceive"

export interface Parameter {
  readonly fits: (value: unknown) => boolean
  /** May be left out, or null. */
  readonly optional: boolean
}

export interface Func {
  readonly name: FunctionName
  readonly parameters: Readonly<Record<string, Parameter>>
  /** Bytes of an answer at most. */
  readonly answerBytes: number
}

export interface Interface {
  readonly name: string
  /** Needs a channel that nobody can listen to. */
  readonly secure: boolean
  /** Needs a channel on which the server can call, too. */
  readonly bidirectional: boolean
  /** The last minor version of major version 1 that is spoken. */
  readonly minor: number
  readonly functions: (minor: number) => ReadonlyMap<string, Func>
}

const text = (pattern: RegExp) => (value: unknown): boolean => typeof value === "string" && pattern.test(value)
const required = (fits: Parameter["fits"]): Parameter => ({ fits, optional: false })
const optional = (fits: Parameter["fits"]): Parameter => ({ fits, optional: true })

const int32 = (value: unknown): boolean => typeof value === "number" && (value | 0) === value
const type = text(typePattern)
const id = text(/^[1-9][0-9]{0,17}$/)
const component = text(/^[A-Za-z0-9_]{1,16}$/)
const types = (value: unknown): boolean => Array.isArray(value) && value.every(type)

const func = (name: FunctionName, parameters: Func["parameters"], answerBytes = kib64): Func => ({
  name,
  parameters,
  answerBytes
})

const ping = func("ping", { echo: required(int32) })
const addEvent = func("addEvent", { type: required(type), data: required((value) => value !== undefined) })
const registerConsumer = func("registerConsumer", { component: required(component) })
const pollEvents = (answerBytes: number) =>
  func("pollEvents", { component: required(component), last_id: optional(id), want: optional(types) }, answerBytes)
const readyToReceive = func("readyToReceive", { component: required(component), want: optional(types) })

const table = (...functions: ReadonlyArray<Func>): ReadonlyMap<string, Func> =>
  new Map(functions.map((func) => [func.name, func]))

const pings = table(ping)
const generates = table(ping, addEvent)
const polls10 = table(ping, registerConsumer, pollEvents(kib64))
const polls11 = table(ping, registerConsumer, pollEvents(mib8))
/** What it has of polling is of version 1.0, in 1.1 as well. */
const pushes = table(ping, registerConsumer, pollEvents(kib64), readyToReceive)

const list: ReadonlyArray<Interface> = [
  { name: "futoin.ping", minor: 0, secure: false, bidirectional: false, functions: () => pings },
  { name: "futoin.evt.gen", minor: 1, secure: true, bidirectional: false, functions: () => generates },
  {
    name: "futoin.evt.poll",
    minor: 1,
    secure: false,
    bidirectional: false,
    functions: (minor) => minor === 0 ? polls10 : polls11
  },
  { name: "futoin.evt.push", minor: 1, secure: false, bidirectional: true, functions: () => pushes }
]

export const interfaces: ReadonlyMap<string, Interface> = new Map(list.map((one) => [one.name, one]))

/** Bytes of a call of `futoin.evt.receiver:1.minor:onEvents` at most. */
export const pushBytes = (minor: number): number => minor === 0 ? kib64 : mib8
