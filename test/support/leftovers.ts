/** What servers of the tests leave behind, and how it goes away however the process that started them ends. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import type * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"

/** What a process that ends before it could stop its servers still has to take away; only synchronous code runs then. */
export const leftovers = new Set<() => void>()
process.on("exit", () => {
  for (const takeAway of leftovers) takeAway()
})
for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
  process.once(signal, () => {
    // whoever else listens decides when to exit
    if (process.listenerCount(signal) === 0) process.exit(code)
  })
}

export const remove = (folder: string) => Fs.rmSync(folder, { recursive: true, force: true, maxRetries: 3 })

export const temporary = (name: string) => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), `evt-${name}-`))
  leftovers.add(() => remove(folder))
  return folder
}

/**
 * What of a server is left when this process is killed and cannot run `leftovers`: a shell in a session of its own waits
 * for the end of a pipe that only this process holds, and takes the server and its folder away.
 */
export const reaper = (folder: string) => {
  const script = `pid=; while read -r line; do pid=$line; done; test -z "$pid" || kill -9 $pid; sleep 1; rm -rf "$1"`
  const shell = ChildProcess.spawn("sh", ["-c", script, "sh", folder], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true
  })
  shell.on("error", () => {})
  shell.stdin!.on("error", () => {})
  shell.unref()
  ;(shell.stdin as Net.Socket).unref()
  return {
    /** The process to end; none while the server is off. */
    knows: (pid: number | undefined) => void shell.stdin!.write(`${pid ?? ""}\n`),
    end: () => void shell.stdin!.end()
  }
}
