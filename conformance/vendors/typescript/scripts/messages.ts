// Writes src/messages.ts, the messages as TypeScript sees them, from the protos: `npm run messages`. With --check: compares it.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadProtos, messages, RAW, type Field, type Message } from '../src/proto.ts'

const protocol = process.env.PROTOCOL ?? join(import.meta.dirname, '../../../../protocol')
const target = join(import.meta.dirname, '../src/messages.ts')
const WIDTH = 138
const HEAD = `// The messages as proto.ts decodes them, one interface each. Made by \`npm run messages\` from the protos: do not edit.
`
const TYPES: Record<string, string> = { string: 'string', bytes: 'Buffer', bool: 'boolean', int64: 'bigint', uint64: 'bigint' }

function typeOf(f: Field): string {
  if (f.map) return 'Map<string, string>'
  const one = f.kind === 'msg' ? f.type : TYPES[f.type] ?? 'number'
  return f.rep ? one + '[]' : one
}
function memberOf(f: Field): string {
  const optional = !f.rep && !f.map && (f.kind === 'msg' || f.oneof !== '')
  return `${f.name}${optional ? '?' : ''}: ${typeOf(f)}`
}
// As many a line as fit.
function lines(parts: string[], separator: string): string {
  const out: string[] = []
  for (const part of parts) {
    const last = out.at(-1)
    if (last !== undefined && last.length + part.length < WIDTH) out[out.length - 1] = last + separator + part
    else out.push('  ' + part)
  }
  return out.join('\n')
}
function interfaceOf(m: Message): string {
  const members = m.fields.map(memberOf)
  if (RAW.has(m.name)) members.push('$raw?: Buffer')
  if (!members.length) return `export type ${m.name} = Record<string, never>`
  const short = `export interface ${m.name} { ${members.join('; ')} }`
  return short.length <= WIDTH ? short : `export interface ${m.name} {\n${lines(members, '; ')}\n}`
}
function render(): string {
  const out = [HEAD]
  let file = ''
  for (const m of messages.values()) {
    if (m.file !== file) { file = m.file; out.push(`\n// ---- ${file} ----`) }
    out.push(interfaceOf(m))
  }
  const all = [...messages.keys()].map(n => `${n}: ${n}`)
  out.push(`\n// By their names in the protos.\nexport interface Messages {\n${lines(all, '; ')}\n}`)
  return out.join('\n') + '\n'
}

loadProtos(join(protocol, 'proto/intertie/v1'))
if (!process.argv.includes('--check')) writeFileSync(target, render())
else if (readFileSync(target, 'utf8') !== render()) {
  console.error('src/messages.ts does not fit the protos: npm run messages')
  process.exit(1)
}
