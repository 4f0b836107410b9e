/**
 * A client of Server-Sent Events for tests: fetch, and a parser written from the description of the format (HTML Living
 * Standard, 9.2.6), which knows nothing of what the server does.
 */

export interface Message {
  readonly id: string
  readonly event: string
  readonly data: string
}

/** Parses text in any pieces. */
export const parser = () => {
  let buffer = ""
  let skipLineFeed = false
  let data: Array<string> = []
  let event = ""
  let lastEventId = ""
  let idOfBlock = ""
  const state = { lastEventId: "", retry: undefined as number | undefined, comments: 0 }
  const line = (text: string, out: Array<Message>) => {
    if (text === "") {
      lastEventId = idOfBlock
      state.lastEventId = lastEventId
      if (data.length > 0) out.push({ id: lastEventId, event: event || "message", data: data.join("\n") })
      data = []
      event = ""
      return
    }
    const colon = text.indexOf(":")
    if (colon === 0) {
      state.comments++
      return
    }
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "")
    if (field === "data") data.push(value)
    else if (field === "event") event = value
    else if (field === "id" && !value.includes("\0")) idOfBlock = value
    else if (field === "retry" && /^\d+$/.test(value)) state.retry = Number(value)
  }
  return {
    state,
    push: (text: string): ReadonlyArray<Message> => {
      const out: Array<Message> = []
      for (const char of text) {
        if (skipLineFeed && char === "\n") {
          skipLineFeed = false
          continue
        }
        skipLineFeed = char === "\r"
        if (char === "\n" || char === "\r") {
          line(buffer, out)
          buffer = ""
        } else buffer += char
      }
      return out
    }
  }
}

export interface Connection {
  readonly status: number
  readonly headers: Headers
  readonly messages: ReadonlyArray<Message>
  readonly state: ReturnType<typeof parser>["state"]
  /** The text of an answer that is no stream. */
  readonly text: string
  /** The first so many messages, or those that there were when the response ended. */
  readonly take: (count: number) => Promise<ReadonlyArray<Message>>
  /** Until that many comments came. */
  readonly comments: (count: number) => Promise<void>
  readonly ended: Promise<void>
  readonly close: () => void
}

export const connect = async (url: string, headers: Record<string, string> = {}): Promise<Connection> => {
  const controller = new AbortController()
  const response = await fetch(url, {
    headers: { accept: "text/event-stream", ...headers },
    signal: controller.signal
  })
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true
  const text = isStream ? "" : await response.text()
  const messages: Array<Message> = []
  const { push, state } = parser()
  let over = !isStream
  const waiting = new Set<() => void>()
  const wake = () => {
    for (const f of waiting) f()
  }
  const until = (passes: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!passes() && !over) return
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  const read = async () => {
    const decoder = new TextDecoder()
    try {
      for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
        messages.push(...push(decoder.decode(part, { stream: true })))
        wake()
      }
    } catch {
      // given up, here or there
    }
    over = true
    wake()
  }
  const ended = isStream ? read() : Promise.resolve()
  return {
    status: response.status,
    headers: response.headers,
    messages,
    state,
    text,
    take: async (count) => {
      await until(() => messages.length >= count)
      return messages.slice(0, count)
    },
    comments: (count) => until(() => state.comments >= count),
    ended,
    close: () => controller.abort()
  }
}
