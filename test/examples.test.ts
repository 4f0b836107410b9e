/** What README and examples show is what runs. */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { describe, expect, it } from "vitest"
import { backends, createDatabase } from "./support/backends.js"

const root = Path.resolve(import.meta.dirname, "..")
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href

const run = (file: string, cwd: string, env: Record<string, string> = {}) =>
  new Promise<{ readonly code: number | null; readonly output: string }>((resolve) => {
    const args = ["--conditions=effect-eventstream-source", "--import", tsx, Path.join(root, file)]
    const { DATABASE_URL: _, ...rest } = process.env
    const child = ChildProcess.spawn(process.execPath, args, { cwd, env: { ...rest, ...env } })
    let output = ""
    child.stdout.on("data", (data) => output += data)
    child.stderr.on("data", (data) => output += data)
    child.once("close", (code) => resolve({ code, output }))
  })

describe("Examples", () => {
  it("the README shows the quickstart as it is", () => {
    const readme = Fs.readFileSync(Path.join(root, "README.md"), "utf8")
    const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code)
    expect(blocks).toContain(Fs.readFileSync(Path.join(root, "examples/quickstart.ts"), "utf8"))
    expect(blocks.length).toBe(1)
  })

  it("quickstart", async () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "evt-example-"))
    const { code, output } = await run("examples/quickstart.ts", folder)
    Fs.rmSync(folder, { recursive: true })
    expect(output).toMatch(/welcome, ada@example\.org/)
    expect(output).not.toMatch(/rolled back/)
    expect(code).toBe(0)
  })

  it.each([...backends])("the main job on %s", async (backend) => {
    const db = await createDatabase(backend)
    const { code, output } = await run("examples/main-job.ts", root, {
      JOB_TRANSACTIONS: "600",
      ...(backend === "sqlite" ? {} : { DATABASE_URL: db.url })
    })
    await db.drop()
    expect(output).toMatch(/Every consumer got exactly the committed events, in order\./)
    expect(output).toMatch(/consumers killed 1/)
    expect(code).toBe(0)
  })
})
