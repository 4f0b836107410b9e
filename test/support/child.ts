/** Runs a TypeScript file in a process of its own, which talks by one JSON value a line. */
import * as ChildProcess from "node:child_process"
import * as Readline from "node:readline"
import { afterEach } from "vitest"
import { built } from "./built.js"

export interface Child {
  readonly pid: number
  /** All messages so far. */
  readonly messages: ReadonlyArray<any>
  /** The first message that passes, now or later; rejects when the process ends before, or has said no such thing for long. */
  readonly message: (passes: (message: any) => boolean) => Promise<any>
  readonly kill: (signal: NodeJS.Signals) => void
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>
}

// a test that fails leaves its children behind, maybe stopped ones, which would never end and slow down what comes after
const children = new Set<ChildProcess.ChildProcess>()
const killAll = () => {
  for (const child of children) child.kill("SIGKILL")
}
process.on("exit", killAll)
afterEach(killAll)

/** How long a message is waited for, in milliseconds. */
const messagePatience = 120_000

export const spawnTs = (file: string, args: ReadonlyArray<string>, env: Record<string, string> = {}): Child => {
  const child = ChildProcess.spawn(process.execPath, [built(file), ...args], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"]
  })
  children.add(child)
  const messages: Array<any> = []
  const waiting = new Set<() => void>()
  let ended = false
  const wake = () => {
    for (const f of waiting) f()
  }
  Readline.createInterface({ input: child.stdout }).on("line", (line) => {
    try {
      messages.push(JSON.parse(line))
    } catch {
      // half a line of a process that was killed
    }
    wake()
  })
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.once("close", (code, signal) => {
      children.delete(child)
      ended = true
      wake()
      resolve({ code, signal })
    })
  )
  return {
    pid: child.pid!,
    messages,
    message: (passes) =>
      new Promise((resolve, reject) => {
        const settle = (end: () => void) => {
          clearTimeout(patience)
          waiting.delete(look)
          end()
        }
        const look = () => {
          const found = messages.find(passes)
          if (found !== undefined) settle(() => resolve(found))
          else if (ended) settle(() => reject(new Error(`${file} ended without saying what was waited for`)))
        }
        const patience = setTimeout(() => {
          const said = messages.slice(-20).map((message) => JSON.stringify(message)).join("\n")
          settle(() =>
            reject(new Error(`${file} did not say what was waited for (${passes}); at last it said\n${said}`))
          )
        }, messagePatience)
        waiting.add(look)
        look()
      }),
    kill: (signal) => void child.kill(signal),
    exited
  }
}
