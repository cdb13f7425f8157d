// What everything rests on: refusals, digests, ids, names, places (RFC 0003 sections 3.2, 3.3, 3.7, 3.8; RFC 0012).
import { createHash, createHmac, randomBytes } from 'node:crypto'
import type * as Msg from './messages.ts'

export type Metadata = Record<string, string | number | bigint>
export class Refusal extends Error {
  constructor(readonly reason: string, message = '', readonly metadata: Metadata = {}) { super(message || reason) }
  get problem(): Msg.Problem {
    return { reason: this.reason, message: this.message.slice(0, 1024),
      metadata: new Map(Object.entries(this.metadata).map(([k, v]) => [k, String(v).slice(0, 256)] as [string, string])) }
  }
}
export function refuse(reason: string, message = '', metadata: Metadata = {}): never { throw new Refusal(reason, message, metadata) }
export function need(ok: unknown, reason: string, message = '', metadata: Metadata = {}): asserts ok {
  if (!ok) refuse(reason, message, metadata)
}

export const sha256 = (...parts: (Uint8Array | string)[]): Buffer => {
  const h = createHash('sha256')
  for (const p of parts) h.update(p)
  return h.digest()
}
const SHA2 = Buffer.from([0x12, 0x20])
export const multihash = (...parts: (Uint8Array | string)[]): Buffer => Buffer.concat([SHA2, sha256(...parts)])
export const isDigest = (d: Uint8Array) => d.length === 34 && d[0] === 0x12 && d[1] === 0x20
export const eq = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0
export const hex = (b: Uint8Array) => Buffer.from(b).toString('hex')

export const genesisOf = (payload: Uint8Array) => sha256('intertie/v1/genesis\0', payload)
export const nextHead = (head: Uint8Array, entry: Uint8Array) =>
  sha256('intertie/v1/head\0', head, sha256('intertie/v1/entry\0', entry))
export const sessionOf = (dialler: Uint8Array, acceptor: Uint8Array) =>
  sha256('intertie/v1/session\0', sha256(dialler), sha256(acceptor))

export const MAX64 = (1n << 63n) - 1n
export const now = () => BigInt(Date.now())
export const nothing = Buffer.alloc(0)
export const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))
export const max = (a: bigint, b: bigint) => a > b ? a : b
export const min = (a: bigint, b: bigint) => a < b ? a : b

// Ids: UUIDv7 in lower-case text.
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
export const idTime = (id: string): bigint => {
  need(UUID7.test(id), 'ID_INVALID', 'The id is not a UUIDv7 in lower-case text.', { id: id.slice(0, 64) })
  return BigInt('0x' + id.slice(0, 8) + id.slice(9, 13))
}
export const makeId = (time: bigint, random: Uint8Array): string => {
  need(time >= 0n && time < 1n << 48n && random.length === 10, 'ID_INVALID')
  const b = Buffer.alloc(16)
  b.writeUIntBE(Number(time), 0, 6)
  Buffer.from(random).copy(b, 6)
  b[6] = 0x70 | b[6] & 0x0f; b[8] = 0x80 | b[8] & 0x3f
  const h = b.toString('hex')
  return [h.slice(0, 8), h.slice(8, 12), h.slice(12, 16), h.slice(16, 20), h.slice(20)].join('-')
}
export const newId = () => makeId(now(), randomBytes(10))
export const hopId = (time: bigint, secret: Uint8Array, head: Uint8Array, attempt: number) => {
  const a = Buffer.alloc(4); a.writeUInt32BE(attempt)
  return makeId(time, createHmac('sha256', secret).update('intertie/v1/hop\0').update(head).update(a).digest().subarray(0, 10))
}

// Names and codes.
const LABEL = /^(?!-)[a-z0-9-]{1,63}(?<!-)$/
export const isGridName = (s: string) =>
  s.length > 0 && s.length <= 253 && s.split('.').every(l => LABEL.test(l)) && !/(^|\.)[0-9]+$/.test(s)
export const isAddress = (s: string) => {
  const m = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([1-9][0-9]{0,4})$/.exec(s)
  return !!m && !s.includes('\n') && Number(m[1]) <= 65535
}
const exact = (r: RegExp) => (s: string) => r.test(s) && !s.includes('\n')
export const isPlace = exact(/^[A-Z]{2}(-[A-Z0-9]{1,3})?$/)
export const isToken = (s: string) => s.length <= 64 && exact(/^[a-z0-9]+([.-][a-z0-9]+)*$/)(s)
export const isAsset = exact(/^([A-Z][A-Z0-9]{2,11}|x-[a-z0-9-]{1,30})$/)
export const characters = (s: string) => [...s].length

export const placeAllowed = (places: string[], place: string) =>
  places.length === 0 || places.some(c => place !== '' && (place === c || place.startsWith(c + '-')))
