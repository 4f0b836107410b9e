/**
 * The conformance kit: it drives our server with the original clients. Their packages are installed into a folder of their
 * own, by a lock file of their own, and once for each version of it.
 */
import * as ChildProcess from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Readline from "node:readline"

const source = Path.join(import.meta.dirname, "kit")
const files = ["conformance.js", "users.js", "package.json", "package-lock.json"]

/** The folder that it can be run in. */
export const install = (): string => {
  const lock = Fs.readFileSync(Path.join(source, "package-lock.json"))
  const version = createHash("sha256").update(lock).digest("hex").slice(0, 16)
  const folder = Path.resolve(import.meta.dirname, `../../node_modules/.cache/ftn18-kit-${version}`)
  const done = Path.join(folder, "installed")
  Fs.mkdirSync(folder, { recursive: true })
  for (const file of files) Fs.copyFileSync(Path.join(source, file), Path.join(folder, file))
  if (!Fs.existsSync(done)) {
    // what some of them would compile is not needed
    const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    const { status } = ChildProcess.spawnSync("npm", args, { cwd: folder, stdio: "inherit" })
    if (status !== 0) throw new Error("the packages of the kit cannot be installed")
    Fs.writeFileSync(done, "")
  }
  return folder
}

export interface Result {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** Runs all of it, strictly; what it says of failures goes to `print`. */
export const run = (
  folder: string,
  urls: ReadonlyArray<string>,
  print: (line: string) => void,
  trusted?: string
): Promise<Result> =>
  new Promise((resolve, reject) => {
    const child = ChildProcess.spawn(process.execPath, ["conformance.js", ...urls, "--slow"], {
      cwd: folder,
      env: { ...process.env, ...(trusted === undefined ? {} : { NODE_EXTRA_CA_CERTS: trusted }) },
      stdio: ["ignore", "pipe", "inherit"]
    })
    let result: Result | undefined
    let failing = false
    const lines = Readline.createInterface({ input: child.stdout })
    lines.on("line", (line) => {
      const [, passed, failed, skipped] = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(line) ?? []
      if (passed !== undefined) {
        result = { passed: Number(passed), failed: Number(failed), skipped: Number(skipped) }
        return
      }
      // a failure is told on the lines after it, too
      failing = /^(FAIL|skip) /.test(line) || (failing && line.startsWith(" "))
      if (failing) print(line)
    })
    child.once("error", reject)
    child.once("close", (code) => {
      if (result === undefined) reject(new Error(`the kit ended with code ${code} before it had a result`))
      else resolve(result)
    })
  })
