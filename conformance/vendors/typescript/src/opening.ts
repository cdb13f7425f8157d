// The Open of a link: making and checking one, and what two cursors make each side send (RFC 0005 sections 3.2 to 3.4).
import { eq, need, refuse } from './core.ts'
import { checkUpdate, verifyChain, type Chain } from './identity.ts'
import { checkEnvelope, openEnvelope, TYPE } from './keys.ts'
import { decode } from './proto.ts'

export const FEATURES = ['record-batches']
export const LIMITS = { frame_bytes: 262144, inline_bytes: 16384, input_bytes: 1048576, orders: 4096, hops: 8 }
const MINIMUM = { frame_bytes: 65536, inline_bytes: 16384, input_bytes: 16384, orders: 1, hops: 1 }
const MAXIMUM = { frame_bytes: 262144, inline_bytes: 65536, input_bytes: 1073741824, orders: 1000000, hops: 16 }

// What a receiver's declared limits count as.
export function readLimits(l: any): typeof LIMITS {
  const out: any = {}
  for (const k of Object.keys(LIMITS) as (keyof typeof LIMITS)[]) {
    out[k] = Math.min(l?.[k] ?? 0, MAXIMUM[k])
    if (k === 'hops') out[k] = Math.max(out[k], MINIMUM[k])
  }
  return out
}
export interface OpenContext { genesis: Uint8Array; now: bigint; max_skew_ms: bigint; features: string[]; chain?: Chain; keys?: Uint8Array[] }
// Steps 9 to 18; with a chain also 11 and 12. Gives the Open, its payload, and the chain that counts from then on.
export function checkOpen(bytes: Uint8Array, c: OpenContext): { open: any; payload: Buffer; chain?: Chain; keys: Uint8Array[] } {
  const e = openEnvelope(bytes)
  let o: any
  try { o = decode('Open', e.payload) } catch { refuse('FRAME_MALFORMED', 'The payload is no Open.', { field: 'open' }) }
  let chain = c.chain, keys = c.keys!
  if (chain) {
    const held = chain.envelopes
    if (o.descriptors.length && !(o.descriptors.length === held.length && o.descriptors.every((d: Buffer, i: number) => eq(d, held[i])))) {
      const next = verifyChain(o.descriptors)
      checkUpdate(chain, next)
      chain = next
    }
    need(o.descriptor_version === BigInt(chain.length), 'DESCRIPTOR_INVALID', 'The Open states another descriptor version than it carries.', { version: o.descriptor_version, field: 'descriptor_version' })
    keys = chain.keysAt(c.now - c.max_skew_ms, c.now + c.max_skew_ms)
  }
  checkEnvelope(e, TYPE.open, keys)
  need(eq(o.genesis, c.genesis), 'UNKNOWN_GENESIS', 'The Open names another peering.')
  const malformed = (field: string): never => refuse('FRAME_MALFORMED', `The Open breaks the rule of ${field}.`, { field })
  if (o.nonce.length < 16 || o.nonce.length > 32) malformed('nonce')
  if (o.own?.head.length !== 32) malformed('own')
  if (o.other?.head.length !== 32) malformed('other')
  for (const f of o.required_features) need(c.features.includes(f), 'UNSUPPORTED_FEATURE', 'A required feature is not known here.', { feature: f.slice(0, 64) })
  need(o.clock <= c.now + c.max_skew_ms, 'CLOCK', 'The clock of the Open leads too far.', { at: o.clock, now: c.now, max_skew_ms: c.max_skew_ms })
  if ((o.limits?.frame_bytes ?? 0) < MINIMUM.frame_bytes) malformed('limits.frame_bytes')
  if ((o.limits?.inline_bytes ?? 0) < MINIMUM.inline_bytes) malformed('limits.inline_bytes')
  return { open: o, payload: e.payload, chain, keys }
}
// a, b: seqs of the own and the other log here; o, c: those of `own` and `other` in the Open received.
export const plan = (a: number, b: number, o: number, c: number) =>
  ({ resendAfter: Math.min(c, a), returnAfter: Math.min(o, b), ownWholeAt: Math.max(a, c), otherWholeAt: Math.max(b, o) })
