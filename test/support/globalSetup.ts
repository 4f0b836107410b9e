import { build } from "./built.js"
import { find, type Kind, type Server } from "./servers.js"

/** One server of each kind and one build for the whole run; test files learn where they are from the environment. */
export default async () => {
  const removeBuild = build()
  const servers: Array<Server> = []
  const kinds: ReadonlyArray<Kind> = ["postgres", "mysql"]
  for (const kind of kinds) {
    const found = await find(kind)
    if ("missing" in found) {
      if (process.env.CI === "true") throw new Error(found.missing)
      console.error(`\n  SKIPPED: ${found.missing}\n`)
      process.env[`EVT_RUN_${kind.toUpperCase()}_MISSING`] = found.missing
    } else {
      servers.push(found)
      process.env[`EVT_RUN_${kind.toUpperCase()}_URL`] = found.url
    }
  }
  return async () => {
    removeBuild()
    for (const server of servers) await server.stop()
  }
}
