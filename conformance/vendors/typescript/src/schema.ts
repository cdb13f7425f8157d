// JSON that keeps integers exact, and the part of JSON Schema 2020-12 that this node's own offers use (RFC 0008 section 3.2).
// Integers are bigint, other numbers number, objects Map.
import { characters, refuse } from './core.ts'

export type Json = null | boolean | string | bigint | number | Json[] | Map<string, Json>
export function invalid(path: string, rule: string): never {
  refuse('INPUT_INVALID', `The input is wrong at ${path}: ${rule}.`, { path, rule })
}
const notJson = (): never => invalid('$', 'json')
const DEEPEST = 64
const TEXT = /^"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/
const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/
const WORDS = [['true', true], ['false', false], ['null', null]] as const

export function parseJson(bytes: Uint8Array): Json { return new JsonReader(textOf(bytes)).whole() }
function textOf(bytes: Uint8Array): string {
  try { return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) } catch { return notJson() }
}
class JsonReader {
  private p = 0
  constructor(private readonly s: string) {}
  whole(): Json {
    const v = this.value(1)
    this.space()
    return this.p === this.s.length ? v : notJson()
  }
  private space() { while (' \t\n\r'.includes(this.s[this.p]) && this.p < this.s.length) this.p++ }
  private value(depth: number): Json {
    this.space()
    const c = this.s[this.p]
    if (depth > DEEPEST && (c === '{' || c === '[')) invalid('$', 'depth')
    if (c === '"') return this.text()
    if (c === '{') return this.object(depth)
    if (c === '[') return this.array(depth)
    for (const [word, v] of WORDS) if (this.s.startsWith(word, this.p)) { this.p += word.length; return v }
    const m = NUMBER.exec(this.s.slice(this.p, this.p + 2000))
    if (!m) return notJson()
    this.p += m[0].length
    return number(m[0])
  }
  private text(): string {
    const m = TEXT.exec(this.s.slice(this.p))
    if (!m) return notJson()
    this.p += m[0].length
    return JSON.parse(m[0])
  }
  private object(depth: number): Json {
    const o = new Map<string, Json>()
    if (this.empty('}')) return o
    do {
      this.space()
      const k = this.text()
      this.space()
      if (this.s[this.p++] !== ':') notJson()
      o.set(k, this.value(depth + 1))
    } while (this.more('}'))
    return o
  }
  private array(depth: number): Json {
    const a: Json[] = []
    if (this.empty(']')) return a
    do a.push(this.value(depth + 1)); while (this.more(']'))
    return a
  }
  private empty(end: string): boolean {
    this.p++
    this.space()
    if (this.s[this.p] !== end) return false
    this.p++
    return true
  }
  // A comma, or the end.
  private more(end: string): boolean {
    this.space()
    const c = this.s[this.p++]
    if (c !== ',' && c !== end) notJson()
    return c === ','
  }
}
function number(t: string): bigint | number {
  const [mantissa, e = '0'] = t.toLowerCase().split('e'), [whole, part = ''] = mantissa.split('.'), power = Number(e)
  if (Math.abs(power) > 400) return Number(t)
  const digits = whole + part, shift = power - part.length
  if (shift >= 0) return BigInt(digits) * 10n ** BigInt(shift)
  const scale = 10n ** BigInt(-shift), n = BigInt(digits)
  return n % scale === 0n ? n / scale : Number(t)
}
function typeOf(v: Json): string {
  if (v === null) return 'null'
  if (Array.isArray(v)) return 'array'
  switch (typeof v) {
    case 'bigint': return 'integer'
    case 'boolean': case 'string': case 'number': return typeof v
    default: return 'object'
  }
}

export function validate(schema: Json | undefined, v: Json, path = '$') {
  if (!(schema instanceof Map)) return
  const t = typeOf(v), want = schema.get('type'), choices = schema.get('enum')
  if (want !== undefined && t !== want && !(want === 'number' && t === 'integer')) invalid(path, 'type')
  if (Array.isArray(choices) && !choices.includes(v)) invalid(path, 'enum')
  if (typeof v === 'bigint' || typeof v === 'number') validateNumber(schema, v, path)
  const longest = schema.get('maxLength')
  if (typeof v === 'string' && longest !== undefined && characters(v) > Number(longest)) invalid(path, 'maxLength')
  if (v instanceof Map) validateObject(schema, v, path)
}
function validateNumber(schema: Map<string, Json>, v: bigint | number, path: string) {
  const bound = (name: string) => { const b = schema.get(name); return typeof b === 'bigint' || typeof b === 'number' ? b : v }
  if (v < bound('minimum')) invalid(path, 'minimum')
  if (v > bound('maximum')) invalid(path, 'maximum')
}
function validateObject(schema: Map<string, Json>, v: Map<string, Json>, path: string) {
  const listed = schema.get('properties'), required = schema.get('required')
  const properties = listed instanceof Map ? listed : new Map<string, Json>()
  for (const r of Array.isArray(required) ? required : []) if (typeof r === 'string' && !v.has(r)) invalid(path, 'required')
  for (const [k, x] of v) {
    if (properties.has(k)) validate(properties.get(k), x, `${path}.${k}`)
    else if (schema.get('additionalProperties') === false) invalid(path, 'additionalProperties')
  }
}
// Takes everything where the schema is empty, {} or true.
export function checkInput(schema: Buffer, input: Uint8Array) {
  if (!schema.length) return
  const s = parseJson(schema)
  if (s === true || s instanceof Map && s.size === 0) return
  validate(s, parseJson(input))
}
