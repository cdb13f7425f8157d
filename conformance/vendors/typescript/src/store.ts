// What survives a restart: append-only files of JSON lines, bytes in hexadecimal. Each line is written before what follows from it is sent.
import { existsSync, mkdirSync, openSync, readFileSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'

// A newer chain of a peer; with an agreement, a peering that has begun.
export interface PeeringLine { chain: string[]; agreement?: string; proposer?: boolean }
// An offer of another grid, or a route to one over a link.
export type CatalogLine = { offer: string } | { link: string; route: string }
export interface BeginLine {
  begin: string; account: string; request: string; created: string; deadline: string; offer: string; ref: string; own: boolean
  link?: string; seq?: number; names?: string[]          // where another grid does the work
}
export interface EndLine { end: string; account: string; outcome: string; at: string }
// A group of a log: its side, its first seq, its entries, its signature, and the inputs of its orders by seq.
export interface LinkLine { s: 0 | 1; f: number; e: string[]; g: string; i: [number, string][] }
interface Files {
  'peerings.jsonl': PeeringLine
  'catalog.jsonl': CatalogLine
  'invocations.jsonl': BeginLine | EndLine
  [link: `link-${string}.jsonl`]: LinkLine
}

export class Store {
  private files = new Map<string, number>()
  constructor(readonly dir: string) { mkdirSync(dir, { recursive: true, mode: 0o700 }) }
  append<N extends keyof Files>(name: N, line: Files[N]) {
    let fd = this.files.get(name)
    if (fd === undefined) this.files.set(name, fd = openSync(join(this.dir, name), 'a', 0o600))
    writeSync(fd, JSON.stringify(line) + '\n')
  }
  // Every whole line; a half one at the end, of a crash while writing, is cut off.
  read<N extends keyof Files>(name: N): Files[N][] {
    const path = join(this.dir, name)
    if (!existsSync(path)) return []
    const bytes = readFileSync(path), end = bytes.lastIndexOf(10) + 1
    if (end < bytes.length) truncateSync(path, end)
    return bytes.subarray(0, end).toString().split('\n').filter(Boolean).map(l => JSON.parse(l))
  }
}
export const fromHex = (h: string) => Buffer.from(h, 'hex')
