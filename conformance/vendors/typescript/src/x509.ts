// Certificates of the profile of RFC 0004 section 3.7: just enough DER to make one and to judge one.
import { generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto'
import { hex, need, sha256 } from './core.ts'

const tlv = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts), n = body.length
  const len = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255]
  return Buffer.concat([Buffer.from([tag, ...len]), body])
}
const seq = (...p: Uint8Array[]) => tlv(0x30, ...p)
const oid = (h: string) => tlv(6, Buffer.from(h, 'hex'))
const OID = { ecdsaSha256: '2a8648ce3d040302', ec: '2a8648ce3d0201', p256: '2a8648ce3d030107', cn: '550403',
  basic: '551d13', san: '551d11', eku: '551d25', server: '2b06010505070301', client: '2b06010505070302' }
const time = (d: Date) => tlv(0x18, Buffer.from(d.toISOString().replace(/[-:T]/g, '').slice(0, 14) + 'Z'))

export function makeCertificate(grid: string): { der: Buffer; key: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  const name = seq(tlv(0x31, seq(oid(OID.cn), tlv(0x0c, Buffer.from(hex(sha256(spki)))))))
  const algorithm = seq(oid(OID.ecdsaSha256))
  const extension = (id: string, critical: boolean, value: Buffer) =>
    seq(oid(id), ...(critical ? [Buffer.from([1, 1, 255])] : []), tlv(4, value))
  const serial = randomBytes(16); serial[0] = serial[0] & 0x7f | 0x40
  const day = 86400000
  const tbs = seq(tlv(0xa0, Buffer.from([2, 1, 2])), tlv(2, serial), algorithm, name,
    seq(time(new Date(Date.now() - day)), time(new Date(Date.now() + 3650 * day))), name, spki,
    tlv(0xa3, seq(
      extension(OID.basic, true, seq()),
      extension(OID.san, false, seq(tlv(0x82, Buffer.from(grid)))),
      extension(OID.eku, false, seq(oid(OID.server), oid(OID.client))))))
  const der = seq(tbs, algorithm, tlv(3, Buffer.from([0]), sign('sha256', tbs, privateKey)))
  return { der, key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }
}
export function pem(der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g) ?? []
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

interface Node { tag: number; body: Buffer; raw: Buffer }
function read(b: Buffer): Node[] {
  const out: Node[] = []
  for (let p = 0; p < b.length;) {
    const start = p, tag = b[p++]
    let n = b[p++]
    if (n === undefined) throw new Error('cut')
    if (n > 127) {
      const k = n & 127
      if (k < 1 || k > 3) throw new Error('length')
      n = b.readUIntBE(p, k)
      p += k
    }
    if (p + n > b.length) throw new Error('cut')
    out.push({ tag, body: b.subarray(p, p + n), raw: b.subarray(start, p += n) })
  }
  return out
}
const kids = (n: Node) => read(n.body)

function ok(c: unknown): asserts c { if (!c) throw new Error('profile') }
const oidOf = (n: Node) => n.body.toString('hex')

// The grid that the certificate names; throws where it breaks the profile.
export function profileName(der: Buffer): string {
  const whole = read(der)
  ok(whole.length === 1)
  const [tbs, algorithm] = kids(whole[0]), fields = kids(tbs).filter((f, i) => !(i === 0 && f.tag === 0xa0))
  const [, , , , subject, spki] = fields
  ok(oidOf(kids(algorithm)[0]) === OID.ecdsaSha256)
  const keyAlgorithm = kids(kids(spki)[0])
  ok(oidOf(keyAlgorithm[0]) === OID.ec && oidOf(keyAlgorithm[1]) === OID.p256)
  checkSubject(subject, hex(sha256(spki.raw)))
  const name = nameIn(fields.find(f => f.tag === 0xa3))
  const cert = new X509Certificate(der)
  ok(cert.verify(cert.publicKey))
  return name
}
function checkSubject(subject: Node, wanted: string) {
  const rdns = kids(subject)
  ok(rdns.length === 1)
  const attributes = kids(rdns[0])
  ok(attributes.length === 1)
  const [type, value] = kids(attributes[0])
  ok(oidOf(type) === OID.cn && value.body.toString('latin1') === wanted)
}
function nameIn(extensions: Node | undefined): string {
  const found = new Map<string, Buffer>()
  for (const e of extensions ? kids(kids(extensions)[0]) : []) {
    const parts = kids(e), value = parts.at(-1)
    ok(value)
    found.set(oidOf(parts[0]), value.body)
  }
  const basic = found.get(OID.basic), san = found.get(OID.san), eku = found.get(OID.eku)
  ok(basic && san && eku)
  const flag = kids(read(basic)[0]).at(0)
  ok(!flag || flag.tag !== 1 || flag.body[0] === 0)
  const names = kids(read(san)[0])
  ok(names.length === 1 && names[0].tag === 0x82)
  const uses = kids(read(eku)[0]).map(oidOf)
  ok(uses.length === 2 && uses.includes(OID.server) && uses.includes(OID.client))
  return names[0].body.toString('latin1')
}
export function checkCertificates(certificates: Uint8Array[], grid: string) {
  for (const c of certificates) {
    let name = ''
    try { name = profileName(Buffer.from(c)) } catch { /* named below */ }
    need(name === grid, 'CERTIFICATE_MISMATCH', 'A listed certificate breaks the profile or names another grid.', { grid })
  }
}
