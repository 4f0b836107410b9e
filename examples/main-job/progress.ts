/** A bar on a terminal, lines elsewhere. */
export const progress = (title: string) => {
  const terminal = process.stderr.isTTY === true
  const colour = terminal && process.env.NO_COLOR === undefined
  let shown = -1
  return (done: number, total: number) => {
    const percent = Math.floor((done / total) * 100)
    if (percent === shown || (!terminal && percent % 20 !== 0)) return
    shown = percent
    if (!terminal) {
      process.stderr.write(`${title}: ${done} of ${total}\n`)
      return
    }
    const full = Math.round(percent * 0.4)
    const bar = "█".repeat(full) + "░".repeat(40 - full)
    process.stderr.write(`\r${title} ${colour ? `\x1b[32m${bar}\x1b[0m` : bar} ${String(percent).padStart(3)} %`)
    if (percent === 100) process.stderr.write("\n")
  }
}
