/** A consumer in a process of its own. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Readline from "node:readline"
import { fileURLToPath } from "node:url"
import type { Observation, Seen } from "./observation.js"

const file = fileURLToPath(new URL("./consumer.ts", import.meta.url))

/**
 * Runs the consumer until it ends; answers with the signal that ended it. It is killed when it has handled more than
 * `killAfter` events, before it acknowledges the last of them, and in any case when the scope closes. Everything it said
 * has been seen then.
 */
export const run = (
  args: ReadonlyArray<string>,
  observation: Observation,
  killAfter: number
): Effect.Effect<string | null, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = ChildProcess.spawn(process.execPath, [...process.execArgv, file, ...args, `${killAfter}`], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      // "close", not "exit": by then its output has been read to the end
      const closed = new Promise<string | null>((resolve) => child.once("close", (_, signal) => resolve(signal)))
      Readline.createInterface({ input: child.stdout }).on("line", (line) => {
        // the last line of a killed process may be half a line
        if (line.endsWith("}]")) observation.see(JSON.parse(line) as ReadonlyArray<Seen>)
        if (observation.delivered > killAfter) child.kill("SIGKILL")
      })
      return { child, closed }
    }),
    ({ child, closed }) =>
      Effect.promise(() => {
        child.kill("SIGKILL")
        return closed
      })
  ).pipe(Effect.flatMap(({ closed }) => Effect.promise(() => closed)))
