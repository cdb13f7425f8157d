// Protobuf: reads the .proto files and encodes and decodes by them, as RFC 0003 section 3.1 asks bytes to be read.
// Fields keep their proto names. 64-bit numbers are bigint, 32-bit ones and enumerations number, bytes Buffer, maps Map.
// A message field, or any field of a oneof, that is absent is undefined.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

import type { Messages } from './messages.ts'

type Kind = 'msg' | 'enum' | 'scalar'
export interface Field { name: string; no: number; type: string; rep: boolean; map: boolean; oneof: string; kind: Kind }
export interface Message { name: string; file: string; fields: Field[]; byNo: Map<number, Field> }
// A message that is being read or written: what its fields are is known when the protos have been read.
type Fields = Record<string, any>
// What can be encoded: a message of which any field may be left out, with bytes of any kind.
export type Draft<T> =
  T extends Uint8Array ? Uint8Array
  : T extends Map<string, string> ? T
  : T extends (infer E)[] ? readonly Draft<E>[]
  : T extends object ? { readonly [K in keyof T]?: Draft<T[K]> }
  : T

export const messages = new Map<string, Message>()
const enums = new Set<string>()
const SCALARS = new Set(['string', 'bytes', 'bool', 'int32', 'uint32', 'int64', 'uint64'])

export const RAW = new Set(['RecordProof', 'Event', 'Frame'])          // messages whose exact bytes are kept as $raw

export class Malformed extends Error {}

export function loadProtos(dir: string) {
  for (const file of readdirSync(dir).filter(f => f.endsWith('.proto')).sort()) parse(readFileSync(join(dir, file), 'utf8'), file)
  resolve()
}
const DECLARATION = /message (\w+) \{\}?|enum (\w+) \{|oneof (\w+) \{|service \w+ \{|(\w+) = (\d+);|\}/g
function parse(source: string, file: string) {
  const text = source.replace(/\/\/.*$/gm, '')
  let message: Message | null = null, oneof = '', inService = false
  for (const m of text.matchAll(DECLARATION)) {
    const [whole, messageName, enumName, oneofName, field, no] = m
    if (messageName) {
      const made: Message = { name: messageName, file, fields: [], byNo: new Map() }
      messages.set(messageName, made)
      if (!whole.endsWith('}')) message = made
    } else if (enumName) enums.add(enumName)
    else if (oneofName) oneof = oneofName
    else if (whole.startsWith('service ')) inService = true
    else if (whole === '}') {
      if (oneof) oneof = ''
      else if (inService) inService = false
      else message = null
    } else if (message && field) {
      const before = text.slice(text.lastIndexOf('\n', m.index) + 1, m.index).trim()
      addField(message, before, field, Number(no), oneof)
    }
  }
}
function addField(message: Message, before: string, name: string, no: number, oneof: string) {
  const rep = before.startsWith('repeated '), map = before.startsWith('map<')
  const f: Field = { name, no, type: before.replace('repeated ', '').trim(), rep, map, oneof, kind: 'scalar' }
  message.fields.push(f)
  message.byNo.set(no, f)
}
// What the protos do not hold: how gRPC reports errors, and a frame in its request or answer.
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
}`, '')
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

function numberOf(f: Field, v: bigint): bigint | number | boolean {
  if (f.kind === 'enum') return Number(BigInt.asIntN(32, v))
  switch (f.type) {
    case 'bool': return v !== 0n
    case 'int64': return BigInt.asIntN(64, v)
    case 'uint64': return v
    case 'uint32': return Number(BigInt.asUintN(32, v))
    default: return Number(BigInt.asIntN(32, v))
  }
}

function blank(m: Message): Fields {
  const o: Fields = {}
  for (const f of m.fields)
    o[f.name] = f.map ? new Map() : f.rep ? [] : f.kind === 'msg' || f.oneof ? undefined : zero(f)
  return o
}
function zero(f: Field): string | Buffer | boolean | bigint | number {
  if (f.kind === 'enum') return 0
  switch (f.type) {
    case 'string': return ''
    case 'bytes': return Buffer.alloc(0)
    case 'bool': return false
    case 'int64': case 'uint64': return 0n
    default: return 0
  }
}
function named(name: string): Message {
  const m = messages.get(name)
  if (!m) throw new Error(`no message ${name}`)
  return m
}

export function decode<K extends keyof Messages>(name: K, buf: Uint8Array): Messages[K] {
  const m = named(name)
  return read(m, buf, blank(m)) as Messages[K]             // messages.ts is made from the protos that it is read by
}
// Decodes what may be malformed; `bad` says how that is refused.
export function decodeOr<K extends keyof Messages>(name: K, buf: Uint8Array, bad: () => never): Messages[K] {
  try { return decode(name, buf) } catch { return bad() }
}
function read(m: Message, buf: Uint8Array, o: Fields): Fields {
  const r = new Reader(Buffer.isBuffer(buf) ? buf : Buffer.from(buf))
  while (!r.done) {
    const [no, wire] = r.tag(), f = m.byNo.get(no)
    const text = f && (f.map || f.kind === 'msg' || f.type === 'string' || f.type === 'bytes')
    if (f && text && wire === 2) readText(m, o, f, r.bytes(Number(r.varint())))
    else if (f && !text && wire === 0) set(m, o, f, numberOf(f, r.varint()))
    else if (f && !text && wire === 2 && f.rep) {
      const p = new Reader(r.bytes(Number(r.varint())))
      while (!p.done) o[f.name].push(numberOf(f, p.varint()))
    } else r.skip(wire, no)
  }
  return o
}
// A field of bytes, text, or a message; the same message field again is merged with what came before.
function readText(m: Message, o: Fields, f: Field, b: Buffer) {
  if (f.map) { const [k, v] = mapEntry(b); o[f.name].set(k, v); return }
  if (f.kind !== 'msg') { set(m, o, f, f.type === 'bytes' ? b : string(b)); return }
  const before = f.rep ? undefined : o[f.name], inner = named(f.type)
  const value = read(inner, b, before ?? blank(inner))
  if (RAW.has(f.type)) value.$raw = before ? Buffer.concat([before.$raw, b]) : b
  set(m, o, f, value)
}
function set(m: Message, o: Fields, f: Field, value: unknown) {
  if (f.rep) { o[f.name].push(value); return }
  if (f.oneof) for (const g of m.fields) if (g.oneof === f.oneof && g !== f) o[g.name] = undefined
  o[f.name] = value
}
function string(b: Buffer): string {
  try { return utf8.decode(b) } catch { throw new Malformed('not UTF-8') }
}
function mapEntry(b: Buffer): [string, string] {
  const r = new Reader(b)
  let k = '', v = ''
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
  if (n < 0x7fffffffn) {
    let k = Number(n)
    while (k > 127) { out.push(k & 127 | 128); k >>>= 7 }
    out.push(k)
    return
  }
  while (n > 127n) { out.push(Number(n & 127n) | 128); n >>= 7n }
  out.push(Number(n))
}
export function uvarint(n: number): Buffer { const o: number[] = []; varint(o, n); return Buffer.from(o) }

export function encode<K extends keyof Messages>(name: K, o: Draft<Messages[K]>): Buffer { return write(named(name), o) }
// Numbers are gathered until a field of bytes comes.
class Writer {
  private parts: Uint8Array[] = []
  private head: number[] = []
  number(no: number, v: bigint | number) { varint(this.head, no * 8); varint(this.head, v) }
  block(no: number, b: Uint8Array) { varint(this.head, no * 8 + 2); varint(this.head, b.length); this.flush(); this.parts.push(b) }
  private flush() { if (this.head.length) this.parts.push(Buffer.from(this.head)); this.head = [] }
  done(): Buffer { this.flush(); return Buffer.concat(this.parts) }
}
function write(m: Message, o: Fields): Buffer {
  const w = new Writer()
  for (const f of m.fields) {
    const v = o[f.name]
    if (v === undefined || v === null) continue
    if (f.map) for (const [k, x] of v) w.block(f.no, mapBytes(k, x))
    else if (f.rep && f.kind !== 'msg' && f.type !== 'string' && f.type !== 'bytes') { if (v.length) w.block(f.no, packed(v)) }
    else if (f.rep) for (const x of v) writeOne(w, f, x, true)
    else writeOne(w, f, v, !!f.oneof)
  }
  return w.done()
}
function writeOne(w: Writer, f: Field, v: any, always: boolean) {
  if (f.kind === 'msg') w.block(f.no, write(named(f.type), v))
  else if (f.type === 'string') { if (always || v) w.block(f.no, Buffer.from(v, 'utf8')) }
  else if (f.type === 'bytes') { if (always || v.length) w.block(f.no, v) }
  else if (f.type === 'bool') { if (always || v) w.number(f.no, v ? 1 : 0) }
  else if (always || BigInt(v) !== 0n) w.number(f.no, v)
}
function mapBytes(k: string, v: string): Buffer {
  const kb = Buffer.from(k), vb = Buffer.from(v)
  return Buffer.concat([Buffer.from([10]), uvarint(kb.length), kb, Buffer.from([18]), uvarint(vb.length), vb])
}
function packed(list: (bigint | number)[]): Buffer {
  const p: number[] = []
  for (const x of list) varint(p, x)
  return Buffer.from(p)
}
