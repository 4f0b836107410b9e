/** How many of something each of many names has; names with none take no memory. */
export class Counts {
  private readonly counts = new Map<string, number>()
  of(name: string): number {
    return this.counts.get(name) ?? 0
  }
  add(name: string, n: number): void {
    const now = this.of(name) + n
    if (now === 0) this.counts.delete(name)
    else this.counts.set(name, now)
  }
}
