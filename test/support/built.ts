/**
 * What the tests start as processes of their own runs compiled: without a compiler in each of them it starts in half the
 * time. It is compiled once for a run of the tests, before the first of them.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Compiles the repository, for this process and its children; the way to remove it again. */
export const build = (): () => void => {
  const parent = Path.join(root, ".tmp")
  Fs.mkdirSync(parent, { recursive: true })
  // inside the repository, where its packages are found
  const folder = Fs.mkdtempSync(Path.join(parent, "built-"))
  const tsc = Path.join(Path.dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc")
  const { output, status } = ChildProcess.spawnSync(
    process.execPath,
    [tsc, "-p", root, "--noEmit", "false", "--rootDir", root, "--outDir", folder, "--declaration", "false"],
    { encoding: "utf8" }
  )
  // an error of types is no reason to run no test
  if (status !== 0) console.error(output.join(""))
  Fs.copyFileSync(Path.join(root, "package.json"), Path.join(folder, "package.json"))
  process.env.EVT_BUILT = folder
  return () => Fs.rmSync(folder, { recursive: true, force: true })
}

/** The compiled form of a file, whose path may begin at the repository. */
export const built = (file: string): string => {
  const folder = process.env.EVT_BUILT
  if (folder === undefined) throw new Error("compiled by test/support/globalSetup.ts only")
  return Path.join(folder, Path.relative(root, Path.resolve(root, file)).replace(/\.ts$/, ".js"))
}
