// JSON that keeps integers exact, and the part of JSON Schema 2020-12 that this node's own offers use (RFC 0008 section 3.2).
// Integers are bigint, other numbers number, objects Map.
import { characters, refuse } from './core.ts'

export const invalid = (path: string, rule: string): never => refuse('INPUT_INVALID', `The input is wrong at ${path}: ${rule}.`, { path, rule })

export function parseJson(bytes: Uint8Array): any {
  let s = ''
  try { s = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) } catch { invalid('$', 'json') }
  let p = 0
  const bad = (): never => invalid('$', 'json')
  const space = () => { while (' \t\n\r'.includes(s[p]) && p < s.length) p++ }
  const text = (): string => {
    const m = /^"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/.exec(s.slice(p))
    if (!m) return bad()
    p += m[0].length
    return JSON.parse(m[0])
  }
  const value = (depth: number): any => {
    space()
    const c = s[p]
    if (depth > 64 && (c === '{' || c === '[')) invalid('$', 'depth')
    if (c === '"') return text()
    if (c === '{') {
      const o = new Map<string, any>(); p++; space()
      if (s[p] === '}') { p++; return o }
      for (;;) {
        space(); const k = text(); space()
        if (s[p++] !== ':') bad()
        o.set(k, value(depth + 1)); space()
        if (s[p] === ',') { p++; continue }
        if (s[p++] === '}') return o
        bad()
      }
    }
    if (c === '[') {
      const a: any[] = []; p++; space()
      if (s[p] === ']') { p++; return a }
      for (;;) {
        a.push(value(depth + 1)); space()
        if (s[p] === ',') { p++; continue }
        if (s[p++] === ']') return a
        bad()
      }
    }
    for (const [word, v] of [['true', true], ['false', false], ['null', null]] as const) if (s.startsWith(word, p)) { p += word.length; return v }
    const m = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/.exec(s.slice(p, p + 2000))
    if (!m) return bad()
    p += m[0].length
    return number(m[0])
  }
  const v = value(1)
  space()
  return p === s.length ? v : bad()
}
function number(t: string): bigint | number {
  const [mantissa, e = '0'] = t.toLowerCase().split('e'), [whole, part = ''] = mantissa.split('.'), power = Number(e)
  if (Math.abs(power) > 400) return Number(t)
  const digits = whole + part, shift = power - part.length
  if (shift >= 0) return BigInt(digits) * 10n ** BigInt(shift)
  const scale = 10n ** BigInt(-shift), n = BigInt(digits)
  return n % scale === 0n ? n / scale : Number(t)
}
const typeOf = (v: any) => v === null ? 'null' : typeof v === 'boolean' ? 'boolean' : typeof v === 'string' ? 'string' : typeof v === 'bigint' ? 'integer' : typeof v === 'number' ? 'number' : Array.isArray(v) ? 'array' : 'object'

export function validate(schema: any, v: any, path = '$') {
  if (schema === true || !(schema instanceof Map)) return
  const t = typeOf(v), want = schema.get('type')
  if (want !== undefined && t !== want && !(want === 'number' && t === 'integer')) invalid(path, 'type')
  if (schema.has('enum') && !schema.get('enum').includes(v)) invalid(path, 'enum')
  if (t === 'integer' || t === 'number') {
    if (schema.has('minimum') && v < schema.get('minimum')) invalid(path, 'minimum')
    if (schema.has('maximum') && v > schema.get('maximum')) invalid(path, 'maximum')
  }
  if (t === 'string' && schema.has('maxLength') && characters(v) > Number(schema.get('maxLength'))) invalid(path, 'maxLength')
  if (t === 'object') {
    const props: Map<string, any> = schema.get('properties') ?? new Map()
    for (const r of schema.get('required') ?? []) if (!v.has(r)) invalid(path, 'required')
    for (const [k, x] of v) {
      if (props.has(k)) validate(props.get(k), x, `${path}.${k}`)
      else if (schema.get('additionalProperties') === false) invalid(path, 'additionalProperties')
    }
  }
}
// Takes everything where the schema is empty, {} or true.
export function checkInput(schema: Buffer, input: Uint8Array) {
  if (!schema.length) return
  const s = parseJson(schema)
  if (s === true || s instanceof Map && s.size === 0) return
  validate(s, parseJson(input))
}
