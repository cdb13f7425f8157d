// Protobuf: reads the .proto files and encodes and decodes by them, as RFC 0003 section 3.1 asks bytes to be read.
// Fields keep their proto names. 64-bit numbers are bigint, 32-bit ones and enumerations number, bytes Buffer, maps Map.
// A message field, or any field of a oneof, that is absent is undefined.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

interface Field { name: string; no: number; type: string; rep: boolean; map: boolean; oneof: string; kind: 'msg' | 'enum' | 'scalar' }
interface Message { name: string; fields: Field[]; byNo: Map<number, Field> }

const messages = new Map<string, Message>()
export const enums = new Map<string, Map<string, number>>()
const SCALARS = new Set(['string', 'bytes', 'bool', 'int32', 'uint32', 'int64', 'uint64'])

const RAW = new Set(['RecordProof', 'Event', 'Frame'])          // messages whose exact bytes are kept as $raw

export class Malformed extends Error {}

export function loadProtos(dir: string) {
  for (const file of readdirSync(dir).filter(f => f.endsWith('.proto'))) parse(readFileSync(join(dir, file), 'utf8'))
  resolve()
}
function parse(source: string) {
    const text = source.replace(/\/\/.*$/gm, '')
    let msg: Message | null = null, en: Map<string, number> | null = null, oneof = '', service = 0
    for (const m of text.matchAll(/message (\w+) \{\}?|enum (\w+) \{|oneof (\w+) \{|service \w+ \{|(\w+) = (\d+);|\}/g)) {
      if (m[1]) {
        const made: Message = { name: m[1], fields: [], byNo: new Map() }
        messages.set(m[1], made)
        if (!m[0].endsWith('}')) msg = made
      } else if (m[2]) enums.set(m[2], en = new Map())
      else if (m[3]) oneof = m[3]
      else if (m[0].startsWith('service ')) service = 1
      else if (m[0] === '}') { if (oneof) oneof = ''; else if (service) service = 0; else { msg = null; en = null } }
      else if (en) en.set(m[4], Number(m[5]))
      else if (msg) {
        const line = text.slice(text.lastIndexOf('\n', m.index) + 1, m.index).trim()
        const rep = line.startsWith('repeated '), map = line.startsWith('map<')
        const f: Field = { name: m[4], no: Number(m[5]), type: line.replace('repeated ', '').trim(), rep, map, oneof, kind: 'scalar' }
        msg.fields.push(f); msg.byNo.set(f.no, f)
      }
    }
}
// What the protos do not hold: how gRPC reports errors.
parse(`message Status {
int32 code = 1;
string message = 2;
repeated Any details = 3;
}
message Any {
string type_url = 1;
bytes value = 2;
}
message ErrorInfo {
string reason = 1;
string domain = 2;
map<string, string> metadata = 3;
}
message Wrap {
bytes frame = 1;
}`)
function resolve() {
  for (const m of messages.values()) {
    m.fields.sort((a, b) => a.no - b.no)
    for (const f of m.fields) f.kind = f.map || SCALARS.has(f.type) ? 'scalar' : enums.has(f.type) ? 'enum' : 'msg'
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

class Reader {
  pos = 0
  constructor(readonly b: Buffer) {}
  get done() { return this.pos >= this.b.length }
  varint(): bigint {
    let lo = 0
    for (let i = 0, s = 1; i < 4; i++, s *= 128) {          // most are short
      const c = this.b[this.pos + i]
      if (c === undefined) throw new Malformed('cut varint')
      lo += (c & 127) * s
      if (c < 128) { this.pos += i + 1; return BigInt(lo) }
    }
    let v = 0n
    for (let i = 0; i < 10; i++) {
      const c = this.b[this.pos++]
      if (c === undefined) throw new Malformed('cut varint')
      v |= BigInt(c & 127) << BigInt(7 * i)
      if (c < 128) return BigInt.asUintN(64, v)
    }
    throw new Malformed('long varint')
  }
  bytes(n: number): Buffer {
    if (this.pos + n > this.b.length) throw new Malformed('cut field')
    this.pos += n
    return this.b.subarray(this.pos - n, this.pos)
  }
  skip(wire: number, no: number, depth = 0) {
    if (wire === 0) this.varint()
    else if (wire === 1) this.bytes(8)
    else if (wire === 5) this.bytes(4)
    else if (wire === 2) this.bytes(Number(this.varint()))
    else if (wire === 3 && depth < 100) {
      for (;;) {
        const [n, w] = this.tag()
        if (w === 4) { if (n !== no) throw new Malformed('group'); return }
        this.skip(w, n, depth + 1)
      }
    } else throw new Malformed('wire type')
  }
  tag(): [number, number] {
    const t = this.varint()
    if (t > 0xffffffffn || t < 8n) throw new Malformed('tag')
    const n = Number(t)
    return [Math.floor(n / 8), n % 8]
  }
}

const NUMBER = (type: string, v: bigint): any => {
  switch (type) {
    case 'bool': return v !== 0n
    case 'int64': return BigInt.asIntN(64, v)
    case 'uint64': return v
    case 'uint32': return Number(BigInt.asUintN(32, v))
    default: return Number(BigInt.asIntN(32, v))             // int32 and enumerations
  }
}

function blank(m: Message) {
  const o: any = {}
  for (const f of m.fields)
    o[f.name] = f.map ? new Map() : f.rep ? [] : f.kind === 'msg' || f.oneof ? undefined : zero(f)
  return o
}
function zero(f: Field): any {
  if (f.kind === 'enum') return 0
  switch (f.type) { case 'string': return ''; case 'bytes': return Buffer.alloc(0); case 'bool': return false
    case 'int64': case 'uint64': return 0n; default: return 0 }
}

export function decode(name: string, buf: Uint8Array, into?: any): any {
  const m = messages.get(name)!, o = into ?? blank(m)
  const r = new Reader(Buffer.isBuffer(buf) ? buf : Buffer.from(buf))
  while (!r.done) {
    const [no, wire] = r.tag(), f = m.byNo.get(no)
    const text = f && (f.map || f.kind === 'msg' || f.type === 'string' || f.type === 'bytes')
    if (f && text && wire === 2) {
      const b = r.bytes(Number(r.varint()))
      if (f.map) { const [k, v] = mapEntry(b); o[f.name].set(k, v); continue }
      const before = f.rep ? undefined : o[f.name]
      const value = f.kind === 'msg' ? decode(f.type, b, before) : f.type === 'bytes' ? b : string(b)
      if (RAW.has(f.type)) value.$raw = before ? Buffer.concat([before.$raw, b]) : b
      set(m, o, f, value)
    } else if (f && !text && wire === 0) set(m, o, f, NUMBER(f.kind === 'enum' ? 'enum' : f.type, r.varint()))
    else if (f && !text && wire === 2 && f.rep) {
      const p = new Reader(r.bytes(Number(r.varint())))
      while (!p.done) o[f.name].push(NUMBER(f.kind === 'enum' ? 'enum' : f.type, p.varint()))
    } else r.skip(wire, no)
  }
  return o
}
function set(m: Message, o: any, f: Field, value: any) {
  if (f.rep) { o[f.name].push(value); return }
  if (f.oneof) for (const g of m.fields) if (g.oneof === f.oneof && g !== f) o[g.name] = undefined
  o[f.name] = value
}
function string(b: Buffer): string {
  try { return utf8.decode(b) } catch { throw new Malformed('not UTF-8') }
}
function mapEntry(b: Buffer): [string, string] {
  const r = new Reader(b); let k = '', v = ''
  while (!r.done) {
    const [no, wire] = r.tag()
    if (wire === 2 && no === 1) k = string(r.bytes(Number(r.varint())))
    else if (wire === 2 && no === 2) v = string(r.bytes(Number(r.varint())))
    else r.skip(wire, no)
  }
  return [k, v]
}

function varint(out: number[], v: bigint | number) {
  let n = typeof v === 'bigint' ? v : BigInt(v)
  if (n < 0n) n = BigInt.asUintN(64, n)
  if (n < 0x7fffffffn) { let k = Number(n); while (k > 127) { out.push(k & 127 | 128); k >>>= 7 } out.push(k); return }
  while (n > 127n) { out.push(Number(n & 127n) | 128); n >>= 7n }
  out.push(Number(n))
}
export function uvarint(n: number): Buffer { const o: number[] = []; varint(o, n); return Buffer.from(o) }

export function encode(name: string, o: any): Buffer {
  const m = messages.get(name)
  if (!m) throw new Error(`no message ${name}`)
  const parts: Uint8Array[] = []
  let head: number[] = []
  const flush = () => { if (head.length) parts.push(Buffer.from(head)); head = [] }
  const block = (no: number, b: Uint8Array) => { varint(head, no * 8 + 2); varint(head, b.length); flush(); parts.push(b) }
  const one = (f: Field, v: any, always: boolean) => {
    if (f.kind === 'msg') block(f.no, encode(f.type, v))
    else if (f.type === 'string') { if (always || v) block(f.no, Buffer.from(v, 'utf8')) }
    else if (f.type === 'bytes') { if (always || v.length) block(f.no, v) }
    else if (always || (f.type === 'bool' ? v : BigInt(v) !== 0n)) { varint(head, f.no * 8); varint(head, f.type === 'bool' ? (v ? 1 : 0) : v) }
  }
  for (const f of m.fields) {
    const v = o[f.name]
    if (v === undefined || v === null) continue
    if (f.map) for (const [k, x] of v instanceof Map ? v : Object.entries(v)) {
      const kb = Buffer.from(k), xb = Buffer.from(x as string)
      block(f.no, Buffer.concat([Buffer.from([10]), uvarint(kb.length), kb, Buffer.from([18]), uvarint(xb.length), xb]))
    } else if (f.rep && f.kind !== 'msg' && f.type !== 'string' && f.type !== 'bytes') {
      if (v.length) { const p: number[] = []; for (const x of v) varint(p, f.type === 'bool' ? +x : x); block(f.no, Buffer.from(p)) }
    } else if (f.rep) for (const x of v) one(f, x, true)
    else one(f, v, !!f.oneof)
  }
  flush()
  return Buffer.concat(parts)
}
