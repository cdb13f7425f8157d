// The Open of a link: making and checking one, and what two cursors make each side send (RFC 0005 sections 3.2 to 3.4).
import { randomBytes } from 'node:crypto'
import { eq, need, now, refuse } from './core.ts'
import type { Log, Side } from './holds.ts'
import { checkUpdate, verifyChain, type Chain } from './identity.ts'
import { checkEnvelope, openEnvelope, TYPE } from './keys.ts'
import type { Ledger } from './log.ts'
import type * as Msg from './messages.ts'
import { decodeOr, encode } from './proto.ts'

export const FEATURES = ['record-batches']
export const LIMITS = { frame_bytes: 262144, inline_bytes: 16384, input_bytes: 1048576, orders: 4096, hops: 8 }
const MINIMUM = { frame_bytes: 65536, inline_bytes: 16384, input_bytes: 16384, orders: 1, hops: 1 }
const MAXIMUM = { frame_bytes: 262144, inline_bytes: 65536, input_bytes: 1073741824, orders: 1000000, hops: 16 }

export function makeOpen(l: Ledger, chain: Chain): Buffer {
  const cursor = (side: Side) => ({ seq: BigInt(l.seq(side)), head: l.head(side) })
  return encode('Open', { genesis: l.genesis, nonce: randomBytes(32), descriptor_version: BigInt(chain.length), agreement_version: 1n,
    features: FEATURES, required_features: [], limits: LIMITS, clock: now(), own: cursor(0), other: cursor(1),
    descriptors: chain.envelopes })
}
// What a receiver's declared limits count as.
export function readLimits(l?: Msg.Limits): Msg.Limits {
  const most = (k: keyof Msg.Limits) => Math.min(l?.[k] ?? 0, MAXIMUM[k])
  return { frame_bytes: most('frame_bytes'), inline_bytes: most('inline_bytes'), input_bytes: most('input_bytes'), orders: most('orders'),
    hops: Math.max(most('hops'), MINIMUM.hops) }
}
export interface OpenContext { genesis: Uint8Array; now: bigint; max_skew_ms: bigint; features: string[] }
export interface CheckedOpen { open: Msg.Open & { own: Msg.Cursor; other: Msg.Cursor }; payload: Buffer }
const malformed = (field: string): never => refuse('FRAME_MALFORMED', `The Open breaks the rule of ${field}.`, { field })
export function readOpen(bytes: Uint8Array): { envelope: Msg.Envelope; open: Msg.Open } {
  const envelope = openEnvelope(bytes)
  const bad = () => refuse('FRAME_MALFORMED', 'The payload is no Open.', { field: 'open' })
  return { envelope, open: decodeOr('Open', envelope.payload, bad) }
}
// Steps 9 to 18. Gives the Open, its payload, the chain that counts from then on, and its keys that may sign.
export function checkPeerOpen(bytes: Uint8Array, c: OpenContext, held: Chain): CheckedOpen & { chain: Chain; keys: Uint8Array[] } {
  const { envelope, open } = readOpen(bytes), chain = chainOf(open, held)
  const version = open.descriptor_version
  need(version === BigInt(chain.length), 'DESCRIPTOR_INVALID', 'The Open states another descriptor version than it carries.',
    { version, field: 'descriptor_version' })
  const keys = chain.keysAt(c.now - c.max_skew_ms, c.now + c.max_skew_ms)
  return { ...checkOpen(envelope, open, c, keys), chain, keys }
}
// Steps 11 and 12.
function chainOf(o: Msg.Open, held: Chain): Chain {
  const known = held.envelopes
  if (!o.descriptors.length || o.descriptors.length === known.length && o.descriptors.every((d, i) => eq(d, known[i]))) return held
  const next = verifyChain(o.descriptors)
  checkUpdate(held, next)
  return next
}
// The other steps, where the keys are known.
export function checkOpen(envelope: Msg.Envelope, o: Msg.Open, c: OpenContext, keys: Uint8Array[]): CheckedOpen {
  checkEnvelope(envelope, TYPE.open, keys)
  need(eq(o.genesis, c.genesis), 'UNKNOWN_GENESIS', 'The Open names another peering.')
  if (o.nonce.length < 16 || o.nonce.length > 32) malformed('nonce')
  const own = cursor(o.own, 'own'), other = cursor(o.other, 'other')
  for (const f of o.required_features)
    need(c.features.includes(f), 'UNSUPPORTED_FEATURE', 'A required feature is not known here.', { feature: f.slice(0, 64) })
  need(o.clock <= c.now + c.max_skew_ms, 'CLOCK', 'The clock of the Open leads too far.',
    { at: o.clock, now: c.now, max_skew_ms: c.max_skew_ms })
  if ((o.limits?.frame_bytes ?? 0) < MINIMUM.frame_bytes) malformed('limits.frame_bytes')
  if ((o.limits?.inline_bytes ?? 0) < MINIMUM.inline_bytes) malformed('limits.inline_bytes')
  return { open: { ...o, own, other }, payload: envelope.payload }
}
const cursor = (c: Msg.Cursor | undefined, field: string): Msg.Cursor => c?.head.length === 32 ? c : malformed(field)
// From what is acknowledged on, both name the same head wherever both hold the entry.
export function checkCursors({ own, other }: CheckedOpen['open'], ledger: Ledger) {
  const [ours, theirs] = ledger.logs
  checkCursor(other, ours, theirs.acked)
  checkCursor(own, theirs, ours.acked)
}
function checkCursor(c: Msg.Cursor, { heads }: Log, acknowledged: number) {
  const seq = Number(c.seq)
  if (seq >= acknowledged && seq < heads.length && !eq(heads[seq], c.head))
    refuse('LOG_FORK', 'The Open names another head than the one held.', { seq })
}
// a, b: seqs of the own and the other log here; o, c: those of `own` and `other` in the Open received.
export const plan = (a: number, b: number, o: number, c: number) =>
  ({ resendAfter: Math.min(c, a), returnAfter: Math.min(o, b), ownWholeAt: Math.max(a, c), otherWholeAt: Math.max(b, o) })
