// Descriptor chains (RFC 0004) and agreements (RFC 0006).
import {
  characters, eq, genesisOf, hex, isAddress, isAsset, isDigest, isGridName, isPlace, isToken, MAX64, multihash, need, nothing, refuse,
} from './core.ts'
import { checkEnvelope, checkKey, isKeyForm, isSmallOrder, keyId, openEnvelope, TYPE, unseal } from './keys.ts'
import type * as Msg from './messages.ts'
import { decodeOr } from './proto.ts'

type Bad = (field: string) => never
export interface Version {
  descriptor: Msg.Descriptor; payload: Buffer; digest: Buffer; envelope: Buffer
  keys: Msg.SigningKey[]                       // those of a known algorithm
}
export class Chain {
  constructor(readonly versions: Version[]) {}
  get last() { return this.versions[this.length - 1] }
  get fingerprint() { return keyId(this.versions[0].descriptor.root_key) }
  get name() { return hex(this.fingerprint) }
  get grid(): string { return this.last.descriptor.grid }
  get length() { return this.versions.length }
  get envelopes() { return this.versions.map(v => v.envelope) }
  // Signing keys of the last version that are valid at one of the given times.
  keysAt(...times: bigint[]): Buffer[] {
    return this.last.keys.filter(k => times.some(t => k.not_before <= t && t <= k.not_after)).map(k => k.public_key)
  }
  get keys(): Buffer[] { return this.last.keys.map(k => k.public_key) }
  get keysEver(): Buffer[] { return this.versions.flatMap(v => v.keys.map(k => k.public_key)) }
  keyEntry(spki: Uint8Array) { return this.last.keys.find(k => eq(k.public_key, spki)) }
  endpoints(kind: number): string[] { return this.last.descriptor.endpoints.filter(e => e.kind === kind).map(e => e.address) }
}

export function verifyChain(envelopes: Uint8Array[]): Chain {
  if (envelopes.length < 1 || envelopes.length > 256) badDescriptor('chain', 0)
  const versions: Version[] = []
  for (const bytes of envelopes) versions.push(nextVersion(bytes, versions.at(-1), versions.length + 1))
  return new Chain(versions)
}
function badDescriptor(field: string, version: number): never {
  refuse('DESCRIPTOR_INVALID', `A descriptor breaks the rule of ${field}.`, { version, field })
}
function nextVersion(bytes: Uint8Array, before: Version | undefined, n: number): Version {
  const bad: Bad = field => badDescriptor(field, n)
  const envelope = openEnvelope(bytes), { payload } = envelope
  const d = decodeOr('Descriptor', payload, () => bad('payload'))
  checkKey(d.root_key)
  const roots = before && !eq(before.descriptor.root_key, d.root_key) ? [d.root_key, before.descriptor.root_key] : [d.root_key]
  const signed = checkEnvelope(envelope, TYPE.descriptor, roots)
  need(signed.length === roots.length, 'SIGNATURE_INVALID', 'A root key has not signed the descriptor.')
  if (d.version !== BigInt(n)) bad('version')
  if (!eq(d.previous, before ? before.digest : nothing)) bad('previous')
  if (before && d.grid !== before.descriptor.grid) bad('grid')
  const keys = knownKeys(d, bad)
  checkPlaces(d, bad)
  return { descriptor: d, payload, digest: multihash(payload), envelope: Buffer.from(bytes), keys }
}
function knownKeys(d: Msg.Descriptor, bad: Bad): Msg.SigningKey[] {
  if (!isGridName(d.grid)) bad('grid')
  if (d.issued_at < 0n) bad('issued_at')
  const listed = d.signing_keys
  if (listed.length < 1 || listed.length > 8 || new Set(listed.map(k => hex(k.public_key))).size !== listed.length) bad('signing_keys')
  for (const k of listed) if (k.not_before < 0n || k.not_before > k.not_after) bad('signing_keys')
  const keys = listed.filter(k => isKeyForm(k.public_key))
  if (!keys.length || keys.some(k => isSmallOrder(k.public_key))) bad('signing_keys')
  return keys
}
function checkPlaces(d: Msg.Descriptor, bad: Bad) {
  if (d.certificates.length > 8 || d.certificates.some(c => c.length < 1 || c.length > 16384)) bad('certificates')
  if (d.endpoints.length > 16 || d.endpoints.some(e => (e.kind === 1 || e.kind === 2) && !isAddress(e.address))) bad('endpoints')
  if (d.features.length > 64 || !d.features.every(isToken)) bad('features')
  if (d.place !== '' && !isPlace(d.place)) bad('place')
}

// May `next` take the place of `known`? (section 3.3)
export function checkUpdate(known: Chain, next: Chain) {
  need(eq(known.fingerprint, next.fingerprint), 'DESCRIPTOR_INVALID', 'The chain is that of another grid.')
  checkContinues(known, next)
  need(next.length >= known.length, 'DESCRIPTOR_ROLLBACK', 'The chain is shorter than the known one.',
    { version: next.length, known: known.length })
}
export function checkContinues(known: Chain, next: Chain) {
  for (let i = 0; i < Math.min(known.length, next.length); i++)
    need(eq(known.versions[i].digest, next.versions[i].digest), 'DESCRIPTOR_EQUIVOCATION',
      'The chain states something else at a known version.', { version: i + 1 })
}

const AGREEMENT_BYTES = 65472                  // fits an entry of 65,536 bytes with what stands beside it
export interface PeeringTerms extends Msg.Agreement { proposer: Msg.Party; acceptor: Msg.Party }
export interface Agreement { terms: PeeringTerms; payload: Buffer; genesis: Buffer; digest: Buffer; envelope: Msg.Envelope }
export function verifyAgreement(bytes: Uint8Array, proposer: Chain, acceptor?: Chain): Agreement {
  const keys = [...proposer.keys, ...(acceptor?.keys ?? [])]
  const envelope = openEnvelope(bytes, AGREEMENT_BYTES), signed = checkEnvelope(envelope, TYPE.agreement, keys), { payload } = envelope
  const bad: Bad = field => refuse('AGREEMENT_INVALID', `The agreement breaks the rule of ${field}.`, { field })
  const a = decodeOr('Agreement', payload, () => bad('payload')), at = a.proposed_at
  const by = (c: Chain, valid: (k: Msg.SigningKey) => boolean) =>
    need(signed.some(s => { const k = c.keyEntry(s); return k && valid(k) }),
      'SIGNATURE_INVALID', 'A party has not signed the agreement by a key that is valid.')
  by(proposer, k => k.not_before <= at && at <= k.not_after)
  if (acceptor) by(acceptor, k => k.not_after >= at)
  const terms = termsOf(a, bad)
  const names = (p: Msg.Party, c: Chain, field: string) => { if (!eq(p.fingerprint, c.fingerprint) || p.grid !== c.grid) bad(field) }
  names(terms.proposer, proposer, 'proposer')
  if (acceptor) names(terms.acceptor, acceptor, 'acceptor')
  return { terms, payload, genesis: genesisOf(payload), digest: multihash(payload), envelope }
}
function termsOf(a: Msg.Agreement, bad: Bad): PeeringTerms {
  if (a.version < 1n) bad('version')
  const proposer = party(a.proposer, 'proposer', bad), acceptor = party(a.acceptor, 'acceptor', bad)
  if (eq(proposer.fingerprint, acceptor.fingerprint)) bad('acceptor.fingerprint')
  if (!isAsset(a.asset)) bad('asset')
  if (a.scale > 9) bad('scale')
  if (a.suite !== 'sha256-ed25519') bad('suite')
  const within = (n: bigint, low: bigint, high: bigint, field: string) => { if (n < low || n > high) bad(field) }
  within(a.claim_window_ms, 1000n, 604800000n, 'claim_window_ms')
  within(a.max_skew_ms, 1000n, 300000n, 'max_skew_ms')
  if (a.rails.length > 16 || !a.rails.every(isToken)) bad('rails')
  within(BigInt(a.max_open_holds), 1n, 1000000n, 'max_open_holds')
  within(a.max_hold_ms, 1000n, 604800000n, 'max_hold_ms')
  within(a.proposed_at, 0n, MAX64, 'proposed_at')
  if (a.version === 1n ? a.previous.length : !isDigest(a.previous)) bad('previous')
  return { ...a, proposer, acceptor }
}
function party(p: Msg.Party | undefined, side: string, bad: Bad): Msg.Party {
  if (!p || !isDigest(p.fingerprint)) bad(`${side}.fingerprint`)
  if (!isGridName(p.grid)) bad(`${side}.grid`)
  if (p.nonce.length < 16 || p.nonce.length > 32) bad(`${side}.nonce`)
  if (p.credit_limit < 0n) bad(`${side}.credit_limit`)
  if (p.max_unagreed < 0n) bad(`${side}.max_unagreed`)
  return p
}

// A catalog root of an origin (RFC 0008 section 3.4), but for the comparison of versions.
export function verifyRoot(bytes: Uint8Array, origin: Chain, now: bigint): { root: Msg.CatalogRoot; digest: Buffer } {
  const { payload } = unseal(bytes, TYPE.root, origin.keysAt(now))
  const root = decodeOr('CatalogRoot', payload, () => refuse('INVALID_ARGUMENT', 'A catalog root does not decode.', { field: 'root' }))
  need(eq(root.origin, origin.fingerprint) && root.expires_at > now && root.offers.length <= 4096 &&
    root.offers.every((d, i) => i === 0 || Buffer.compare(root.offers[i - 1], d) < 0),
  'INVALID_ARGUMENT', 'A catalog root names another origin, has expired or is out of order.', { field: 'root' })
  return { root, digest: multihash(payload) }
}
// An offer of another grid, checks 1 to 4 of RFC 0008 section 3.1.
export function verifyOffer(bytes: Uint8Array, origin: Uint8Array): Msg.Offer {
  const bad: Bad = field => refuse('INVALID_ARGUMENT', `An offer breaks the rule of ${field}.`, { field })
  const check = (ok: boolean, field: string) => { if (!ok) bad(field) }
  check(bytes.length <= 262144, 'offer')
  const o = decodeOr('Offer', bytes, () => bad('offer'))
  check(eq(o.origin, origin), 'origin')
  const name = characters(o.name), units = o.prices.map(p => p.unit)
  check(name >= 1 && name <= 128, 'name')
  check(units.length <= 16 && new Set(units).size === units.length && units.every(u => characters(u) <= 64), 'prices')
  for (const p of o.prices) check(p.num >= 0n && p.den >= 1n, 'prices')
  return o
}
