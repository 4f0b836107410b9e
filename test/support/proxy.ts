/**
 * A proxy in front of a database server that can lose an answer: it passes on what the client sends, and cuts the
 * connection instead of passing on what the server says to it.
 */
import * as Net from "node:net"

export interface Proxy {
  readonly port: number
  /** Cuts the next connection on which the client sends `text`: `after` the server got it, or `before`. */
  readonly cut: (text: string, when: "after" | "before") => void
  /** How many connections were cut. */
  readonly cuts: () => number
  /** How many bytes the server has said. */
  readonly received: () => number
  /** Refuses or accepts new connections. */
  readonly accept: (yes: boolean) => void
  /** Passes nothing on, in either direction, and keeps the connections: as when a cable is pulled. */
  readonly hold: (yes: boolean) => void
  /** Passes on what comes so much later, milliseconds. */
  readonly delay: (millis: number) => void
  /** Cuts the connections in the middle of what is passed on next. */
  readonly truncate: () => void
  /** Cuts every connection there is. */
  readonly cutAll: () => void
  readonly stop: () => Promise<void>
}

export const startProxy = (target: { readonly host: string; readonly port: number }): Promise<Proxy> =>
  new Promise((resolve) => {
    let armed: { readonly text: string; readonly when: "after" | "before" } | undefined
    let cuts = 0
    let received = 0
    let accepting = true
    let holding = false
    let delay = 0
    let truncating = false
    const pass = (data: Buffer, to: Net.Socket, end: () => void) => {
      if (holding) return
      if (truncating) {
        truncating = false
        cuts++
        to.write(data.subarray(0, data.length >> 1), end)
      } else if (delay === 0) to.write(data)
      else setTimeout(() => to.destroyed || to.write(data), delay)
    }
    const sockets = new Set<Net.Socket>()
    const server = Net.createServer((client) => {
      if (!accepting) return client.destroy()
      const upstream = Net.connect(target)
      sockets.add(client).add(upstream)
      let silent = false
      const end = () => {
        client.destroy()
        upstream.destroy()
      }
      client.on("error", end).on("close", end)
      upstream.on("error", end).on("close", end)
      client.on("data", (data) => {
        if (armed !== undefined && data.includes(armed.text)) {
          const { when } = armed
          armed = undefined
          cuts++
          if (when === "before") return end()
          silent = true
        }
        pass(data, upstream, end)
      })
      upstream.on("data", (data) => {
        received += data.length
        if (silent) end()
        else pass(data, client, end)
      })
    })
    server.listen(0, "127.0.0.1", () =>
      resolve({
        port: (server.address() as Net.AddressInfo).port,
        cut: (text, when) => {
          armed = { text, when }
        },
        cuts: () => cuts,
        received: () => received,
        accept: (yes) => {
          accepting = yes
        },
        hold: (yes) => {
          holding = yes
        },
        delay: (millis) => {
          delay = millis
        },
        truncate: () => {
          truncating = true
        },
        cutAll: () => {
          for (const socket of sockets) socket.destroy()
          sockets.clear()
        },
        stop: () =>
          new Promise((done) => {
            for (const socket of sockets) socket.destroy()
            server.close(() => done())
          })
      }))
  })
