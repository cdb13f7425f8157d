// Merkle trees, execution records, their proofs, and the check of a final charge (RFC 0010).
import { byBytes, eq, isDigest, isPlace, MAX64, need, nothing, refuse, sha256 } from './core.ts'
import { TYPE, unseal } from './keys.ts'
import type { Chain } from './identity.ts'
import type * as Msg from './messages.ts'
import { decode, decodeOr } from './proto.ts'

const leafHash = (b: Uint8Array) => sha256(Buffer.from([0]), b)
const nodeHash = (l: Uint8Array, r: Uint8Array) => sha256(Buffer.from([1]), l, r)

export function tree(leaves: Uint8Array[]): { root: Buffer; paths: Buffer[][] } {
  if (leaves.length === 0) return { root: sha256(''), paths: [] }
  if (leaves.length === 1) return { root: leafHash(leaves[0]), paths: [[]] }
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  const l = tree(leaves.slice(0, k)), r = tree(leaves.slice(k))
  return { root: nodeHash(l.root, r.root), paths: [...l.paths.map(p => [...p, r.root]), ...r.paths.map(p => [...p, l.root])] }
}
export function checkPath(leaf: Uint8Array, index: bigint, size: bigint, path: Uint8Array[], root: Uint8Array): boolean {
  if (root.length !== 32 || index >= size || path.some(p => p.length !== 32)) return false
  let hash = leafHash(leaf), position = index, last = size - 1n, used = 0
  for (; last > 0n; position >>= 1n, last >>= 1n) {
    if (position & 1n || position < last) {
      const sibling = path[used++]
      if (!sibling) return false
      hash = position & 1n ? nodeHash(sibling, hash) : nodeHash(hash, sibling)
    }
  }
  return used === path.length && eq(hash, root)
}

function unproven(field: string): never { refuse('CHARGE_UNPROVEN', `The execution record is not proven: ${field}.`, { field }) }
export interface Proven { record: Msg.ExecutionRecord; bytes: Buffer }
// Checks 3 and 5 to 11 of Table 1 of section 3.7.
export function verifyProof(bytes: Buffer, executor: Chain): Proven {
  if (bytes.length > 16384) unproven('proof')
  const proof = decode('RecordProof', bytes), { payload, keys } = unsealRoot(proof, executor)
  const root = decodeOr('RecordRoot', payload, () => unproven('root'))
  if (!eq(root.executor, executor.fingerprint)) unproven('root.executor')
  const valid = (key: Buffer) => {
    const e = executor.keyEntry(key)
    return e && e.not_before <= root.signed_at && root.signed_at <= e.not_after
  }
  if (!keys.some(valid)) unproven('root.signed_at')
  if (!checkPath(proof.record, proof.index, root.size, proof.path, root.root)) unproven('path')
  const record = decodeOr('ExecutionRecord', proof.record, () => unproven('record'))
  if (!eq(record.executor, executor.fingerprint)) unproven('record.executor')
  checkRecord(record)
  return { record, bytes: proof.record }
}
function unsealRoot(proof: Msg.RecordProof, executor: Chain): { payload: Buffer; keys: Buffer[] } {
  try { return unseal(proof.root, TYPE.record, executor.keys, 4096) } catch { return unproven('root') }
}
function checkRecord(r: Msg.ExecutionRecord) {
  const ok = (c: boolean, field: string) => { if (!c) unproven(`record.${field}`) }
  ok(r.nonce.length >= 16 && r.nonce.length <= 32, 'nonce')
  ok(isDigest(r.offer_digest), 'offer_digest')
  ok(isDigest(r.input_digest), 'input_digest')
  ok(r.output_digest.length === 0 || isDigest(r.output_digest), 'output_digest')
  ok(r.state >= 5 && r.state <= 7, 'state')
  ok(r.usage.length <= 16, 'usage')
  r.usage.forEach((u, i) => ok(u.unit !== '' && u.quantity >= 0n && (i === 0 || byBytes(r.usage[i - 1].unit, u.unit) < 0), 'usage'))
  const e = r.energy
  if (e && e.method !== 0 && e.method !== 4) ok(0n <= e.lower && e.lower <= e.millijoules && e.millijoules <= e.upper, 'energy')
  ok(r.place === '' || isPlace(r.place), 'place')
  ok(0n <= r.started_at && r.started_at <= r.ended_at, 'started_at')
}

// What of an order a record is compared with.
export type Ordered = Pick<Msg.Order, 'nonce' | 'offer_digest' | 'input' | 'prices'>
// Table 1: `before` is the amount of the last charge before; gives the record, or null where none is owed.
// The proof is that of the charge; `executor` may be asked for by the fingerprint that the record names.
export function checkFinalCharge(
  order: Ordered, charge: Msg.Charge, before: bigint, executor: (named?: Buffer) => Chain | undefined,
): Proven | null {
  if (charge.state < 5 || charge.state > 7) unproven('state')
  const proof = charge.proof?.$raw
  if (!proof) {
    if (charge.state === 5 || charge.amount !== before) unproven('proof')
    return null
  }
  if (proof.length > 16384) unproven('proof')
  const chain = executor(executorIn(proof))
  if (!chain) unproven('executor')
  const proven = verifyProof(proof, chain)
  checkMatch(proven.record, order, charge)
  return proven
}
function executorIn(proof: Buffer): Buffer | undefined {
  try { return decode('ExecutionRecord', decode('RecordProof', proof).record).executor } catch { return undefined }     // check 10
}
function checkMatch(r: Msg.ExecutionRecord, order: Ordered, charge: Msg.Charge) {
  const same = (ok: boolean, field: string) =>
    need(ok, 'RECORD_MISMATCH', `The execution record differs from the order or charge in ${field}.`, { field })
  same(eq(r.nonce, order.nonce), 'nonce')
  same(eq(r.offer_digest, order.offer_digest), 'offer_digest')
  same(eq(r.input_digest, order.input?.digest ?? nothing), 'input_digest')
  same(r.state === charge.state, 'state')
  const count = (unit: string): bigint => r.usage.find(u => u.unit === unit)?.quantity ?? 0n
  order.prices.forEach((p, i) => same(count(p.unit) === charge.quantities[i], 'quantities'))
  for (const u of OUTCOME) same(count(u) <= 1n, 'quantities')
}

const OUTCOME = new Set(['order', 'order.failed', 'order.canceled'])
const UNKNOWN: Msg.Energy = { method: 4, millijoules: 0n, lower: 0n, upper: 0n, boundary: '' }
// Energy from an offer's intensities (section 3.4).
export function energyOf(intensities: Msg.EnergyIntensity[], usage: Map<string, bigint>): Msg.Energy {
  const used = [...usage].filter(([, q]) => q > 0n).sort(([a], [b]) => byBytes(a, b))
  const found = used.map(([unit, quantity]) => ({ unit, quantity, energy: intensities.find(i => i.unit === unit)?.per_atom }))
  if (found.some(f => !f.energy && !OUTCOME.has(f.unit))) return UNKNOWN
  const sum = { method: 0, millijoules: 0n, lower: 0n, upper: 0n }, boundaries: string[] = []
  for (const { quantity: q, energy: e } of found) {
    if (!e) continue
    sum.millijoules += e.millijoules * q; sum.lower += e.lower * q; sum.upper += e.upper * q
    sum.method = Math.max(sum.method, e.method === 0 ? 4 : e.method)
    if (e.boundary && !boundaries.includes(e.boundary)) boundaries.push(e.boundary)
  }
  if (sum.method === 4 || sum.method === 0 || sum.upper > MAX64) return UNKNOWN
  return { ...sum, boundary: boundaries.join('; ') }
}
