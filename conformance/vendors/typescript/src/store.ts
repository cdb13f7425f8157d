// What survives a restart: append-only files of JSON lines, bytes in hexadecimal. Each line is written before what follows from it is sent.
import { existsSync, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export class Store {
  private files = new Map<string, number>()
  constructor(readonly dir: string) { mkdirSync(dir, { recursive: true, mode: 0o700 }) }
  append(name: string, line: object) {
    let fd = this.files.get(name)
    if (fd === undefined) this.files.set(name, fd = openSync(join(this.dir, name), 'a', 0o600))
    writeSync(fd, JSON.stringify(line) + '\n')
  }
  // Every whole line; a half one at the end, of a crash while writing, is cut off.
  read(name: string): any[] {
    const path = join(this.dir, name)
    if (!existsSync(path)) return []
    const bytes = readFileSync(path), end = bytes.lastIndexOf(10) + 1
    if (end < bytes.length) truncateSync(path, end)
    return bytes.subarray(0, end).toString().split('\n').filter(Boolean).map(l => JSON.parse(l))
  }
}
export const fromHex = (h: string) => Buffer.from(h, 'hex')
