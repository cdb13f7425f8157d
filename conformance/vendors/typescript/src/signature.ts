// Head signatures: what is signed, and whether one is right (RFC 0007; RFC 0005 section 3.7).
import { hex, refuse } from './core.ts'
import { keyId, verifies } from './keys.ts'
import type * as Msg from './messages.ts'

export type Unsigned = Omit<Msg.HeadSignature, 'signatures'>

const u64 = (n: bigint): Buffer => {
  if (n < 0n || n >= 1n << 64n) refuse('INVALID_ARGUMENT', 'A number does not fit 64 bits.')
  const b = Buffer.alloc(8)
  b.writeBigUInt64BE(n)
  return b
}
export function signedBytes(genesis: Uint8Array, s: Unsigned): Buffer {
  for (const h of [genesis, s.session, s.head, s.acked_head])
    if (h.length !== 32) refuse('INVALID_ARGUMENT', 'A hash does not have 32 bytes.')
  const own = [u64(s.seq), s.head], others = [u64(s.acked), s.acked_head]
  return Buffer.concat([Buffer.from('intertie/v1/link\0'), genesis, s.session, ...own, ...others, s.agreed_total])
}
// Step 6: form of the signature, and every known key's signature right, at least one of them.
export function rightSignature(genesis: Uint8Array, s: Msg.HeadSignature, keys: Uint8Array[]): boolean {
  if (s.agreed_total.length !== 16 || s.session.length !== 32 || s.signatures.length < 1 || s.signatures.length > 8) return false
  let data: Buffer
  try { data = signedBytes(genesis, s) } catch { return false }
  const known = new Map(keys.map(k => [hex(keyId(k)), k]))
  let right = 0
  for (const x of s.signatures) {
    const k = known.get(hex(x.key_id))
    if (!k) continue
    if (!verifies(k, data, x.value)) return false
    right++
  }
  return right > 0
}
