// Merkle trees, execution records, their proofs, and the check of a final charge (RFC 0010).
import { eq, isDigest, isPlace, MAX64, need, refuse, sha256 } from './core.ts'
import { TYPE, unseal } from './keys.ts'
import type { Chain } from './identity.ts'
import { decode } from './proto.ts'

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

const unproven = (field: string): never => refuse('CHARGE_UNPROVEN', `The execution record is not proven: ${field}.`, { field })
// Checks 3 and 5 to 11 of Table 1 of section 3.7.
export function verifyProof(bytes: Buffer, executor: Chain): { record: any; bytes: Buffer } {
  if (bytes.length > 16384) unproven('proof')
  const proof = decode('RecordProof', bytes)
  let payload: Buffer, keys: Buffer[]
  try { ({ payload, keys } = unseal(proof.root, TYPE.record, executor.keys, 4096)) } catch { return unproven('root') }
  let root: any
  try { root = decode('RecordRoot', payload) } catch { return unproven('root') }
  if (!eq(root.executor, executor.fingerprint)) unproven('root.executor')
  if (!keys.some(k => { const e = executor.keyEntry(k)!; return e.not_before <= root.signed_at && root.signed_at <= e.not_after })) unproven('root.signed_at')
  if (!checkPath(proof.record, proof.index, root.size, proof.path, root.root)) unproven('path')
  let r: any
  try { r = decode('ExecutionRecord', proof.record) } catch { return unproven('record') }
  if (!eq(r.executor, executor.fingerprint)) unproven('record.executor')
  checkRecord(r)
  return { record: r, bytes: proof.record }
}
function checkRecord(r: any) {
  const ok = (c: any, field: string) => { if (!c) unproven(`record.${field}`) }
  ok(r.nonce.length >= 16 && r.nonce.length <= 32, 'nonce')
  ok(isDigest(r.offer_digest), 'offer_digest')
  ok(isDigest(r.input_digest), 'input_digest')
  ok(r.output_digest.length === 0 || isDigest(r.output_digest), 'output_digest')
  ok(r.state >= 5 && r.state <= 7, 'state')
  ok(r.usage.length <= 16, 'usage')
  r.usage.forEach((u: any, i: number) => ok(u.unit !== '' && u.quantity >= 0n &&
    (i === 0 || Buffer.compare(Buffer.from(r.usage[i - 1].unit), Buffer.from(u.unit)) < 0), 'usage'))
  const e = r.energy
  if (e && e.method !== 0 && e.method !== 4) ok(0n <= e.lower && e.lower <= e.millijoules && e.millijoules <= e.upper, 'energy')
  ok(r.place === '' || isPlace(r.place), 'place')
  ok(0n <= r.started_at && r.started_at <= r.ended_at, 'started_at')
}

// Table 1: `before` is the amount of the last charge before; gives the record, or null where none is owed.
// `proof` are the bytes of the charge's RecordProof; `executor` may be asked for by the fingerprint that the record names.
export function checkFinalCharge(order: any, charge: any, proof: Buffer | undefined, before: bigint, executor: (named?: Buffer) => Chain | undefined): any {
  if (charge.state < 5 || charge.state > 7) unproven('state')
  if (!proof) { if (charge.state === 5 || charge.amount !== before) unproven('proof'); return null }
  if (proof.length > 16384) unproven('proof')
  let named: Buffer | undefined
  try { named = decode('ExecutionRecord', decode('RecordProof', proof).record).executor } catch { /* check 10 */ }
  const chain = executor(named)
  if (!chain) unproven('executor')
  const { record: r, bytes } = verifyProof(proof, chain!)
  const same = (ok: any, field: string) => need(ok, 'RECORD_MISMATCH', `The execution record differs from the order or charge in ${field}.`, { field })
  same(eq(r.nonce, order.nonce), 'nonce')
  same(eq(r.offer_digest, order.offer_digest), 'offer_digest')
  same(eq(r.input_digest, order.input?.digest ?? Buffer.alloc(0)), 'input_digest')
  same(r.state === charge.state, 'state')
  const count = (unit: string): bigint => r.usage.find((u: any) => u.unit === unit)?.quantity ?? 0n
  order.prices.forEach((p: any, i: number) => same(count(p.unit) === charge.quantities[i], 'quantities'))
  for (const u of ['order', 'order.failed', 'order.canceled']) same(count(u) <= 1n, 'quantities')
  return { record: r, bytes }
}

const OUTCOME = new Set(['order', 'order.failed', 'order.canceled'])
const UNKNOWN = { method: 4 }
// Energy from an offer's intensities (section 3.4).
export function energyOf(intensities: any[], usage: Map<string, bigint>): any {
  const used = [...usage].filter(([, q]) => q > 0n).map(([u]) => u)
  const found = used.map(u => intensities.find(i => i.unit === u)?.per_atom)
  if (found.every(f => !f) || used.some((u, i) => !found[i] && !OUTCOME.has(u))) return UNKNOWN
  let millijoules = 0n, lower = 0n, upper = 0n, method = 0
  const boundaries: string[] = []
  used.map((u, i) => [u, found[i]] as const).filter(([, e]) => e).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))).forEach(([u, e]) => {
    const q = usage.get(u)!
    millijoules += e.millijoules * q; lower += e.lower * q; upper += e.upper * q
    method = Math.max(method, e.method === 0 ? 4 : e.method)
    if (e.boundary && !boundaries.includes(e.boundary)) boundaries.push(e.boundary)
  })
  if (method === 4 || method === 0 || upper > MAX64) return UNKNOWN
  return { method, millijoules, lower, upper, boundary: boundaries.join('; ') }
}
