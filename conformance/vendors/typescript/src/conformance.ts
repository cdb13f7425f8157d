// The seven conformance offers (RFC 0014 section 3.3): what they are and what they do.
import { Refusal } from './core.ts'
import { Rejected, type Context } from './execution.ts'
import { invalid, parseJson } from './schema.ts'

const object = (properties: object, required: string[] = []) => JSON.stringify({ type: 'object', properties, required, additionalProperties: false })
const int = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum })
const text = { type: 'string', maxLength: 256 }
const UNITS = ['llm.output.token', 'mcp.call', 'rag.query', 'sim.step']
const quantity = '{"type":"integer","minimum":0,"maximum":9223372036854775807}'
const USAGE = `{"type":"object","properties":{${UNITS.map(u => `"${u}":${quantity}`).join(',')}},"required":[],"additionalProperties":false}`

interface Offered { name: string; schema: string; features: string[]; prices: [string, number, number][]; energy?: any[]; run: (c: Context, input: any) => Promise<any> }
const base: [string, number, number][] = [['order', 10, 1], ['order.failed', 2, 1], ['order.canceled', 5, 1]]
const json = (text: string) => ({ media_type: 'application/json', data: Buffer.from(text) })
const get = (i: any, k: string, d: any) => i.has(k) ? i.get(k) : d

export const OFFERS: Offered[] = [
  { name: 'conformance/echo', schema: '{}', features: ['idempotent'], prices: base,
    run: async c => ({ media_type: c.input.media_type, data: c.input.data }) },
  { name: 'conformance/delay', schema: object({ ms: int(0, 600000) }, ['ms']), features: ['idempotent', 'cancelable'], prices: base,
    run: async (c, i) => { await c.sleep(Number(i.get('ms'))); return json(`{"ms": ${i.get('ms')}}`) } },
  { name: 'conformance/meter', features: ['idempotent'], energy: [{ unit: 'sim.step', per_atom: { method: 3, millijoules: 2n, lower: 1n, upper: 3n, boundary: 'conformance' } }], prices: [...base, ['llm.output.token', 1, 10], ['rag.query', 1000, 1], ['mcp.call', 7, 3], ['sim.step', 1, 1]],
    schema: object({ usage: '@', steps: int(1, 1000) }, ['usage']).replace('"@"', USAGE),
    run: async (c, i) => {
      const usage: [string, bigint][] = [...i.get('usage')].sort(), k = get(i, 'steps', 1n)
      for (let n = 1n; n <= k; n++) for (const [u, q] of usage) {
        const more = q * n / k - q * (n - 1n) / k
        if (more > 0n) await c.step([[u, more]])
      }
      return json(`{"usage": {${[...i.get('usage')].map(([u, q]) => `"${u}": ${q}`).join(', ')}}}`)
    } },
  { name: 'conformance/stream', features: ['streaming', 'idempotent', 'cancelable'], prices: [...base, ['text.output.byte', 1, 10]],
    schema: object({ chunks: int(0, 10000), bytes: int(1, 16384), delay_ms: int(0, 10000) }, ['chunks', 'bytes']),
    run: async (c, i) => {
      const chunks = Number(i.get('chunks')), bytes = Number(i.get('bytes')), delay = Number(get(i, 'delay_ms', 0n))
      for (let n = 0; n < chunks; n++) {
        await c.sleep(n && delay ? delay : 0)
        const data = Buffer.alloc(bytes)
        for (let j = 0; j < bytes; j++) data[j] = 97 + (n * bytes + j) % 26
        await c.step([['text.output.byte', BigInt(bytes)]], { media_type: 'text/plain', data })
      }
    } },
  { name: 'conformance/ask', features: ['input-required'], prices: base, schema: object({ prompt: text }),
    run: async (c, i) => {
      const reply = await c.ask(get(i, 'prompt', 'input, please'), Buffer.from('{"type": "object"}'))
      if (!(parseJson(reply.data) instanceof Map)) invalid('$', 'type')
      return { media_type: 'application/json', data: reply.data }
    } },
  { name: 'conformance/fail', features: ['idempotent'], prices: [...base, ['sim.step', 1, 1]],
    schema: object({ message: text, steps: int(0, 1000), as: { type: 'string', enum: ['failure', 'tool-error'] } }),
    run: async (c, i) => {
      const message = get(i, 'message', 'failed as asked')
      await c.step([['sim.step', get(i, 'steps', 0n)]])
      if (get(i, 'as', 'failure') === 'failure') throw new Refusal('EXECUTION_FAILED', message || ' ')
      c.isError = true
      return json(JSON.stringify({ message }))
    } },
  { name: 'conformance/refuse', features: ['idempotent'], prices: base, schema: object({ message: text }),
    run: async (_, i) => { throw new Rejected('PERMISSION_DENIED', get(i, 'message', 'refused as asked') || ' ') } },
]
