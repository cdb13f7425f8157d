// The seven conformance offers (RFC 0014 section 3.3): what they are and what they do.
import { Refusal } from './core.ts'
import { Rejected, type Run, type Usage } from './execution.ts'
import type * as Msg from './messages.ts'
import { invalid, parseJson, type Json } from './schema.ts'

const object = (properties: object, required: string[] = []) =>
  JSON.stringify({ type: 'object', properties, required, additionalProperties: false })
const int = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum })
const text = { type: 'string', maxLength: 256 }
const UNITS = ['llm.output.token', 'mcp.call', 'rag.query', 'sim.step']
const quantity = '{"type":"integer","minimum":0,"maximum":9223372036854775807}'
const COUNTS = UNITS.map(u => `"${u}":${quantity}`).join(',')
const USAGE = `{"type":"object","properties":{${COUNTS}},"required":[],"additionalProperties":false}`

type Price = [unit: string, num: number, den: number]
interface Offered { name: string; schema: string; features: string[]; prices: Price[]; energy?: Msg.EnergyIntensity[]; run: Run }
const base: Price[] = [['order', 10, 1], ['order.failed', 2, 1], ['order.canceled', 5, 1]]
const json = (text: string): Msg.Payload => ({ media_type: 'application/json', data: Buffer.from(text) })
// What an input holds under a name; the schemas above have been checked before.
const entryOf = (i: Json, k: string) => i instanceof Map ? i.get(k) : undefined
function intOf(i: Json, k: string, otherwise?: bigint): bigint {
  const v = entryOf(i, k) ?? otherwise
  return typeof v === 'bigint' ? v : invalid('$.' + k, 'type')
}
function textOf(i: Json, k: string, otherwise: string): string {
  const v = entryOf(i, k) ?? otherwise
  return typeof v === 'string' ? v : invalid('$.' + k, 'type')
}
function usageOf(i: Json): Usage[] {
  const v = entryOf(i, 'usage')
  return v instanceof Map ? [...v.keys()].map(u => [u, intOf(v, u)]) : invalid('$.usage', 'type')
}

export const OFFERS: Offered[] = [
  { name: 'conformance/echo', schema: '{}', features: ['idempotent'], prices: base,
    run: async c => ({ media_type: c.input.media_type, data: c.input.data }) },
  { name: 'conformance/delay', schema: object({ ms: int(0, 600000) }, ['ms']), features: ['idempotent', 'cancelable'], prices: base,
    run: async (c, i) => {
      const ms = intOf(i, 'ms')
      await c.sleep(Number(ms))
      return json(`{"ms": ${ms}}`)
    } },
  { name: 'conformance/meter', features: ['idempotent'],
    energy: [{ unit: 'sim.step', per_atom: { method: 3, millijoules: 2n, lower: 1n, upper: 3n, boundary: 'conformance' } }],
    prices: [...base, ['llm.output.token', 1, 10], ['rag.query', 1000, 1], ['mcp.call', 7, 3], ['sim.step', 1, 1]],
    schema: object({ usage: '@', steps: int(1, 1000) }, ['usage']).replace('"@"', USAGE),
    run: async (c, i) => {
      const given = usageOf(i), usage = [...given].sort(), k = intOf(i, 'steps', 1n)
      for (let n = 1n; n <= k; n++) for (const [u, q] of usage) {
        const more = q * n / k - q * (n - 1n) / k
        if (more > 0n) await c.step([[u, more]])
      }
      return json(`{"usage": {${given.map(([u, q]) => `"${u}": ${q}`).join(', ')}}}`)
    } },
  { name: 'conformance/stream', features: ['streaming', 'idempotent', 'cancelable'], prices: [...base, ['text.output.byte', 1, 10]],
    schema: object({ chunks: int(0, 10000), bytes: int(1, 16384), delay_ms: int(0, 10000) }, ['chunks', 'bytes']),
    run: async (c, i) => {
      const chunks = Number(intOf(i, 'chunks')), bytes = Number(intOf(i, 'bytes')), delay = Number(intOf(i, 'delay_ms', 0n))
      for (let n = 0; n < chunks; n++) {
        await c.sleep(n && delay ? delay : 0)
        const data = Buffer.alloc(bytes)
        for (let j = 0; j < bytes; j++) data[j] = 97 + (n * bytes + j) % 26
        await c.step([['text.output.byte', BigInt(bytes)]], { media_type: 'text/plain', data })
      }
      return undefined
    } },
  { name: 'conformance/ask', features: ['input-required'], prices: base, schema: object({ prompt: text }),
    run: async (c, i) => {
      const reply = await c.ask(textOf(i, 'prompt', 'input, please'), Buffer.from('{"type": "object"}'))
      if (!(parseJson(reply.data) instanceof Map)) invalid('$', 'type')
      return { media_type: 'application/json', data: reply.data }
    } },
  { name: 'conformance/fail', features: ['idempotent'], prices: [...base, ['sim.step', 1, 1]],
    schema: object({ message: text, steps: int(0, 1000), as: { type: 'string', enum: ['failure', 'tool-error'] } }),
    run: async (c, i) => {
      const message = textOf(i, 'message', 'failed as asked')
      await c.step([['sim.step', intOf(i, 'steps', 0n)]])
      if (textOf(i, 'as', 'failure') === 'failure') throw new Refusal('EXECUTION_FAILED', message || ' ')
      c.isError = true
      return json(JSON.stringify({ message }))
    } },
  { name: 'conformance/refuse', features: ['idempotent'], prices: base, schema: object({ message: text }),
    run: async (_, i) => { throw new Rejected('PERMISSION_DENIED', textOf(i, 'message', 'refused as asked') || ' ') } },
]
