// What this grid is: its keys, certificate, ports and descriptor, made at the first start and kept (RFC 0004).
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createSecureContext, type SecureContext } from 'node:tls'
import { hex, now } from '../core.ts'
import { verifyChain, type Chain } from '../identity.ts'
import { seal, SigningKey, TYPE } from '../keys.ts'
import { FEATURES } from '../opening.ts'
import { encode } from '../proto.ts'
import { fromHex } from '../store.ts'
import { makeCertificate, pem } from '../x509.ts'

export interface Ports { public: number; peer: number; consumer: number }
// As it is written; bytes in hexadecimal.
interface Kept { root: string; signing: string; secret: string; cert: string; certKey: string; ports: Ports; chain: string[] }

export class Own {
  readonly signingKey: SigningKey
  readonly secret: Buffer
  readonly tls: { cert: string; key: string }
  readonly context: SecureContext
  readonly ports: Ports | undefined             // those of the last start
  private described?: Chain
  private readonly root: SigningKey
  private readonly certificate: Buffer
  private readonly envelopes: Buffer[] | undefined
  constructor(private readonly file: string, private readonly grid: string) {
    const kept: Kept | null = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null
    this.root = kept ? SigningKey.fromSeed(fromHex(kept.root)) : SigningKey.make()
    this.signingKey = kept ? SigningKey.fromSeed(fromHex(kept.signing)) : SigningKey.make()
    this.secret = kept ? fromHex(kept.secret) : randomBytes(32)
    const { der, key } = kept ? { der: fromHex(kept.cert), key: kept.certKey } : makeCertificate(grid)
    this.certificate = der
    this.tls = { cert: pem(der), key }
    this.context = createSecureContext({ ...this.tls, minVersion: 'TLSv1.2' })
    this.ports = kept?.ports
    this.envelopes = kept?.chain.map(fromHex)
  }
  get chain(): Chain {
    if (!this.described) throw new Error('the descriptor is not made yet')
    return this.described
  }
  // The descriptor names the ports, so these have to be known first.
  describe(host: string, place: string, ports: Ports) {
    const chain = verifyChain(this.envelopes ?? [this.firstDescriptor(host, place, ports)])
    this.described = chain
    const kept: Kept = { root: hex(this.root.seed), signing: hex(this.signingKey.seed), secret: hex(this.secret),
      cert: hex(this.certificate), certKey: this.tls.key, ports, chain: chain.envelopes.map(hex) }
    writeFileSync(this.file, JSON.stringify(kept), { mode: 0o600 })
  }
  private firstDescriptor(host: string, place: string, ports: Ports): Buffer {
    const key = { public_key: this.signingKey.spki, not_before: now() - 60000n, not_after: now() + 365n * 86400000n }
    const endpoints = [{ kind: 1, address: `${host}:${ports.public}` }, { kind: 2, address: `${host}:${ports.peer}` }]
    const descriptor = { grid: this.grid, version: 1n, root_key: this.root.spki, issued_at: now(), signing_keys: [key],
      certificates: [this.certificate], endpoints, features: FEATURES, place }
    return seal(TYPE.descriptor, encode('Descriptor', descriptor), [this.root])
  }
}
