/** Starts a server, says where it is, and waits to be killed. */
import { type Kind, startPrivate } from "./servers.js"

const kind = process.argv[2] as Kind | undefined

if (kind !== undefined) {
  const { url } = await startPrivate(kind)
  console.log(JSON.stringify({ url }))
  setInterval(() => {}, 1000)
}
