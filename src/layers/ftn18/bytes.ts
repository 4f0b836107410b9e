/**
 * Reading and writing bytes, for the two binary coders. They are our own because what they read comes from anybody: it is
 * at most JSON, nested no deeper than is safe, and no length that a message claims makes memory be taken before its bytes
 * have been seen. Libraries make an array of the claimed length at once, so that 64 KiB can ask for gigabytes.
 */

/** What cannot be read as a message. */
export class Malformed extends Error {
  override readonly name = "Malformed"
}

/** Levels of nesting: what events may have (`internal/json`), and those of the message around it. */
export const maxDepth = 510

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Text of UTF-8; bytes that are none are refused, not replaced. */
export const textOf = (bytes: Uint8Array): string => {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new Malformed("text that is no UTF-8")
  }
}

export class Reader {
  private at: number
  private readonly view: DataView
  private depth = 0
  constructor(private readonly bytes: Uint8Array, start: number) {
    this.at = start
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  private take(n: number): number {
    const at = this.at
    if (n > this.bytes.length - at) throw new Malformed("the message ends too early")
    this.at = at + n
    return at
  }
  uint(size: 1 | 2 | 4 | 8): number {
    const at = this.take(size)
    switch (size) {
      case 1:
        return this.view.getUint8(at)
      case 2:
        return this.view.getUint16(at)
      case 4:
        return this.view.getUint32(at)
      case 8:
        return exact(this.view.getBigUint64(at))
    }
  }
  int(size: 1 | 2 | 4 | 8): number {
    const at = this.take(size)
    switch (size) {
      case 1:
        return this.view.getInt8(at)
      case 2:
        return this.view.getInt16(at)
      case 4:
        return this.view.getInt32(at)
      case 8:
        return exact(this.view.getBigInt64(at))
    }
  }
  float(size: 4 | 8): number {
    const at = this.take(size)
    return finite(size === 4 ? this.view.getFloat32(at) : this.view.getFloat64(at))
  }
  /** IEEE 754 of 16 bits. */
  half(): number {
    const bits = this.uint(2)
    const exponent = (bits >> 10) & 31
    const fraction = bits & 1023
    const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
    return finite(exponent === 31 ? NaN : bits >> 15 === 0 ? size : -size)
  }
  text(length: number): string {
    const at = this.take(length)
    return textOf(this.bytes.subarray(at, at + length))
  }
  /** Grows as it is read: each element takes a byte at least, so that the end comes before a length that is made up. */
  array(length: number, read: () => unknown): Array<unknown> {
    this.enter()
    const values: Array<unknown> = []
    for (let i = 0; i < length; i++) values.push(read())
    this.depth--
    return values
  }
  map(length: number, read: () => unknown): Record<string, unknown> {
    this.enter()
    const values: Record<string, unknown> = {}
    for (let i = 0; i < length; i++) {
      const key = read()
      if (typeof key !== "string") throw new Malformed("a member whose name is no text")
      // as JSON.parse does it: __proto__ is a name as any other
      Object.defineProperty(values, key, { value: read(), enumerable: true, configurable: true, writable: true })
    }
    this.depth--
    return values
  }
  private enter(): void {
    if (++this.depth > maxDepth) throw new Malformed(`nested deeper than ${maxDepth} levels`)
  }
  /** Nothing may follow a message. */
  end(): void {
    if (this.at !== this.bytes.length) throw new Malformed("bytes after the message")
  }
}

const exact = (n: bigint): number => {
  const number = Number(n)
  if (!Number.isSafeInteger(number)) throw new Malformed("an integer that a number does not hold exactly")
  return number
}

const finite = (n: number): number => {
  if (!Number.isFinite(n)) throw new Malformed("a number that JSON cannot hold")
  return n
}

export class Writer {
  private bytes = new Uint8Array(1024)
  private view = new DataView(this.bytes.buffer)
  private at = 0
  private room(n: number): number {
    const at = this.at
    if (at + n > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.bytes.length * 2, at + n))
      grown.set(this.bytes)
      this.bytes = grown
      this.view = new DataView(grown.buffer)
    }
    this.at = at + n
    return at
  }
  uint(size: 1 | 2 | 4 | 8, n: number): void {
    const at = this.room(size)
    if (size === 1) this.view.setUint8(at, n)
    else if (size === 2) this.view.setUint16(at, n)
    else if (size === 4) this.view.setUint32(at, n)
    else this.view.setBigUint64(at, BigInt.asUintN(64, BigInt(n)))
  }
  /** What a number is, and the number. */
  sized(head: number, size: 1 | 2 | 4 | 8, n: number): void {
    this.uint(1, head)
    this.uint(size, n)
  }
  float(n: number): void {
    const at = this.room(8)
    this.view.setFloat64(at, n)
  }
  raw(bytes: Uint8Array): void {
    const at = this.room(bytes.length)
    this.bytes.set(bytes, at)
  }
  done(): Uint8Array {
    return this.bytes.subarray(0, this.at)
  }
}
