/** Server-Sent Events by fetch, which can say who asks; an EventSource cannot. */
export const watch = async (
  url: string,
  authorization: string,
  show: (type: string, data: string) => void,
  signal: AbortSignal
): Promise<void> => {
  let last: string | undefined
  while (!signal.aborted) {
    try {
      const resume: Record<string, string> = last === undefined ? {} : { "last-event-id": last }
      const response = await fetch(url, { headers: { authorization, ...resume }, signal })
      if (!response.ok) throw new Error(await response.text())
      let text = ""
      for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
        const blocks = (text + part).split("\n\n")
        text = blocks.pop()!
        for (const block of blocks) {
          const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1]
          const data = field("data")
          if (data !== undefined) show(field("event") ?? "message", data)
          last = field("id") ?? last
        }
      }
    } catch (error) {
      if (!signal.aborted) console.log(String(error))
    }
    await new Promise((resolve) => setTimeout(resolve, 2000))
  }
}
