// Ed25519 keys, signatures and envelopes (RFC 0003 sections 3.4 and 3.5).
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign as edSign, verify as edVerify, type KeyObject } from 'node:crypto'
import { eq, hex, multihash, need, refuse } from './core.ts'
import type * as Msg from './messages.ts'
import { decodeOr, encode } from './proto.ts'

export const TYPE = {
  descriptor: 'application/vnd.intertie.descriptor.v1+protobuf',
  agreement: 'application/vnd.intertie.agreement.v1+protobuf',
  open: 'application/vnd.intertie.open.v1+protobuf',
  root: 'application/vnd.intertie.catalog-root.v1+protobuf',
  record: 'application/vnd.intertie.record-root.v1+protobuf',
}
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SMALL = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'])

const P = (1n << 255n) - 19n

export const keyId = (spki: Uint8Array) => multihash(spki)
export const isKeyForm = (k: Uint8Array) => k.length === 44 && eq(k.subarray(0, 12), SPKI)
export const isSmallOrder = (k: Uint8Array) => {
  const point = Buffer.from(k.subarray(12)); point[31] &= 0x7f
  return SMALL.has(hex(point)) || BigInt('0x' + hex(Buffer.from(point).reverse())) >= P      // or a second way to write a point
}
export const checkKey = (k: Uint8Array) => {
  need(isKeyForm(k), 'DESCRIPTOR_INVALID', 'A key is not in the one form of an Ed25519 key.')
  need(!isSmallOrder(k), 'DESCRIPTOR_INVALID', 'A key is of small order.')
}

export class SigningKey {
  private constructor(readonly priv: KeyObject, readonly spki: Buffer, readonly id: Buffer) {}
  static fromSeed(seed: Uint8Array) {
    const priv = createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' })
    const spki = createPublicKey(priv).export({ format: 'der', type: 'spki' })
    return new SigningKey(priv, spki, keyId(spki))
  }
  static make() {
    const seed = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(16)
    return SigningKey.fromSeed(seed)
  }
  get seed() { return this.priv.export({ format: 'der', type: 'pkcs8' }).subarray(16) }
  sign(data: Uint8Array) { return edSign(null, data, this.priv) }
}

const objects = new Map<string, KeyObject | null>()
// OpenSSL checks S below the group order and compares the encoding of R, without the cofactor: IT-ENC-023.
export function verifies(spki: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false
  const name = hex(spki)
  let key = objects.get(name)
  if (key === undefined) {
    if (objects.size > 4096) objects.clear()                 // a JWK takes half the time of DER
    const x = Buffer.from(spki.subarray(12)).toString('base64url')
    try { key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) } catch { key = null }
    objects.set(name, key)
  }
  try { return !!key && edVerify(null, data, key, signature) } catch { return false }
}

export function pae(type: string, payload: Uint8Array): Buffer {
  const t = Buffer.from(type)
  return Buffer.concat([Buffer.from(`DSSEv1 ${t.length} `), t, Buffer.from(` ${payload.length} `), payload])
}
export function seal(type: string, payload: Buffer, keys: SigningKey[]): Buffer {
  return encode('Envelope', { payload_type: type, payload, signatures: keys.map(k => signatureBy(k, type, payload)) })
}
export function addSignature(envelope: Msg.Envelope, key: SigningKey): Buffer {
  const { payload_type, payload, signatures } = envelope
  return encode('Envelope', { payload_type, payload, signatures: [...signatures, signatureBy(key, payload_type, payload)] })
}
const signatureBy = (key: SigningKey, type: string, payload: Uint8Array) => ({ key_id: key.id, value: key.sign(pae(type, payload)) })

// Steps 1 to 3 of the table of section 3.5.
export function openEnvelope(bytes: Uint8Array, limit = 1048576): Msg.Envelope {
  need(bytes.length <= limit, 'INVALID_ARGUMENT', `An envelope has more than ${limit} bytes.`)
  const e = decodeOr('Envelope', bytes, () => refuse('INVALID_ARGUMENT', 'An envelope does not decode.'))
  need(e.signatures.length >= 1 && e.signatures.length <= 8, 'INVALID_ARGUMENT', 'An envelope has no signature or more than eight.')
  return e
}
// Steps 4 to 7: gives the known keys that have signed.
export function checkEnvelope(e: Msg.Envelope, type: string, keys: Uint8Array[]): Buffer[] {
  need(e.payload_type === type, 'INVALID_ARGUMENT', `The payload type is not ${type}.`)
  const ids = e.signatures.map(s => hex(s.key_id))
  need(new Set(ids).size === ids.length, 'SIGNATURE_INVALID', 'A key has signed twice.')
  const known = new Map(keys.map(k => [hex(keyId(k)), Buffer.from(k)])), data = pae(type, e.payload)
  const signed: Buffer[] = []
  for (const s of e.signatures) {
    const key = known.get(hex(s.key_id))
    if (!key) continue
    need(verifies(key, data, s.value), 'SIGNATURE_INVALID', 'A signature does not fit the signed bytes.', { key_id: hex(s.key_id) })
    signed.push(key)
  }
  need(signed.length, 'SIGNATURE_INVALID', 'No signature by a known key.')
  return signed
}
export function unseal(bytes: Uint8Array, type: string, keys: Uint8Array[], limit?: number): { payload: Buffer; keys: Buffer[] } {
  const e = openEnvelope(bytes, limit)
  return { payload: e.payload, keys: checkEnvelope(e, type, keys) }
}
