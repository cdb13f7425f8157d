// Peerings begin: proposals that strangers make, and those that this grid makes (RFC 0006; RFC 0004 section 3.8).
import { randomBytes } from 'node:crypto'
import type { ClientHttp2Session } from 'node:http2'
import type { Catalog } from '../catalog/catalog.ts'
import { eq, hex, need, nothing, now, Refusal, type Metadata } from '../core.ts'
import { callUnary, connect } from '../grpc.ts'
import { checkUpdate, verifyAgreement, verifyChain, type Agreement, type Chain } from '../identity.ts'
import { addSignature, seal, TYPE, type SigningKey } from '../keys.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { decode, encode, type Draft } from '../proto.ts'
import { fromHex, type PeeringLine, type Store } from '../store.ts'
import { checkCertificates } from '../x509.ts'
import type { Peers } from './peers.ts'

const STATE = { PENDING: 1, ACCEPTED: 2, REFUSED: 3 }
const WAITING = 64, FORGOTTEN_MS = 600000

interface Proposal { agreement: Agreement; chain: Chain; state: number; asked: number; envelope?: Buffer }
export interface Offered {
  credit_limit: bigint; max_unagreed: bigint
  claim_window_ms?: bigint; max_skew_ms?: bigint; max_open_holds?: number; max_hold_ms?: bigint
}
export interface PeeringHost {
  chain: Chain; signingKey: SigningKey; grid: string; asset: string; scale: number; acceptsAll: boolean
  catalog: Catalog; peers: Peers; store: Store
  addLink(chain: Chain, a: Agreement, countersigned?: Buffer): Link       // countersigned: where this grid has proposed
  keepUp(link: Link): Promise<void>
}

export class Peering {
  private proposals = new Map<string, Proposal>()        // of others, by digest
  constructor(private readonly host: PeeringHost) {}

  // ---- of others ----
  propose(r: Msg.ProposeRequest): Draft<Msg.ProposeResponse> {
    const chain = verifyChain(r.descriptors), a = verifyAgreement(r.agreement, chain), digest = hex(a.digest)
    this.check(chain, a)
    const p = this.proposals.get(digest) ?? this.take(digest, { agreement: a, chain, state: STATE.PENDING, asked: 0 })
    p.asked = Date.now()
    return { state: p.state, agreement: p.envelope ?? nothing }
  }
  private check(chain: Chain, a: Agreement) {
    const { host } = this, to = a.terms.acceptor
    const field = 'acceptor.fingerprint'
    need(eq(to.fingerprint, host.chain.fingerprint), 'AGREEMENT_INVALID', 'The agreement is with another grid.', { field })
    need(to.grid === host.grid, 'AGREEMENT_INVALID', 'The agreement names this grid otherwise.', { field: 'acceptor.grid' })
    need(a.terms.version === 1n, 'AGREEMENT_INVALID', 'The first agreement has version 1.', { field: 'version' })
    checkCertificates(chain.last.descriptor.certificates, chain.grid)
    const known = host.peers.chain(chain.name) ?? host.catalog.routes.chains.get(chain.name)
    if (known) checkUpdate(known, chain)
    this.checkName(chain, { version: chain.length, field: 'grid' })
  }
  private checkName(chain: Chain, metadata: Metadata) {
    const pinned = this.host.peers.pinned(chain.grid)
    need(pinned === undefined || pinned === chain.name, 'DESCRIPTOR_INVALID', 'The name belongs to another grid.', metadata)
  }
  private take(digest: string, p: Proposal): Proposal {
    const pending = [...this.proposals].filter(([, w]) => w.state === STATE.PENDING)
    const forgotten = pending.filter(([, w]) => Date.now() - w.asked > FORGOTTEN_MS)
    for (const [d] of forgotten) this.proposals.delete(d)                   // nobody asks any longer
    need(pending.length - forgotten.length < WAITING, 'NODE_BUSY', 'Too many proposals wait.', { limit: WAITING })
    this.proposals.set(digest, p)
    try { if (this.host.acceptsAll) this.countersign(p) } catch (e) {
      if (!(e instanceof Refusal)) throw e                                  // it waits, and the operator can say why
    }
    return p
  }
  accept(digest: string) {
    const p = this.proposals.get(digest)
    if (p?.state === STATE.PENDING) this.countersign(p)
  }
  private countersign(p: Proposal) {
    this.checkName(p.chain, { version: p.chain.length, field: 'grid' })     // pinned since it was proposed?
    const { host } = this, envelope = addSignature(p.agreement.envelope, host.signingKey)
    verifyAgreement(envelope, p.chain, host.chain)       // with one more signature it may be too large
    p.envelope = envelope
    p.state = STATE.ACCEPTED
    host.store.append('peerings.jsonl', { chain: p.chain.envelopes.map(hex), agreement: hex(envelope) })
    void host.keepUp(host.addLink(p.chain, p.agreement))
  }

  // ---- of this grid ----
  // Meets a stranger, proposes, and asks until it is decided.
  async proposeTo(address: string, fingerprint: string, offered: Offered): Promise<string> {
    let presented: Buffer = nothing
    const session = await connect(address, { admit: der => { presented = der; return true } })
    try {
      const [answer] = await callUnary(session, 'DirectoryService/GetDescriptor', nothing)
      const chain = verifyChain(decode('GetDescriptorResponse', answer).descriptors)
      this.meet(chain, fingerprint, presented)
      const payload = this.draft(chain, offered), agreement = await this.ask(session, payload)
      const a = verifyAgreement(agreement, this.host.chain, chain)
      need(eq(a.payload, payload), 'AGREEMENT_INVALID', 'Another agreement came back.', { field: 'payload' })
      this.checkName(chain, {})
      this.host.store.append('peerings.jsonl', { chain: chain.envelopes.map(hex), agreement: hex(agreement), proposer: true })
      const link = this.host.addLink(chain, a, agreement)
      void this.host.keepUp(link)
      return link.name
    } finally { session.destroy() }
  }
  private meet(chain: Chain, fingerprint: string, presented: Buffer) {
    const { certificates } = chain.last.descriptor, own = this.host.chain.name
    const listed = certificates.some(c => eq(c, presented))
    need(listed, 'CERTIFICATE_MISMATCH', 'The descriptor does not list the certificate that was presented.', { grid: chain.grid })
    const asked = chain.name === fingerprint && this.host.peers.pinned(chain.grid) !== own
    need(asked, 'DESCRIPTOR_INVALID', 'The grid has another fingerprint.', {})
    this.checkName(chain, {})
    checkCertificates(certificates, chain.grid)
  }
  private draft(chain: Chain, o: Offered): Buffer {
    const { host } = this, { credit_limit, max_unagreed } = o
    const party = (c: Chain) => ({ fingerprint: c.fingerprint, grid: c.grid, nonce: randomBytes(32), credit_limit, max_unagreed })
    return encode('Agreement', { version: 1n, proposer: party(host.chain), acceptor: party(chain), asset: host.asset, scale: host.scale,
      suite: 'sha256-ed25519', claim_window_ms: o.claim_window_ms ?? 60000n, max_skew_ms: o.max_skew_ms ?? 2000n, rails: [],
      max_open_holds: o.max_open_holds ?? 4096, max_hold_ms: o.max_hold_ms ?? 3600000n, proposed_at: now() })
  }
  private async ask(session: ClientHttp2Session, payload: Buffer): Promise<Buffer> {
    const { chain, signingKey } = this.host
    const request = encode('ProposeRequest', { descriptors: chain.envelopes, agreement: seal(TYPE.agreement, payload, [signingKey]) })
    for (let pause = 500; ; pause = Math.min(30000, pause * 2)) {
      const r = decode('ProposeResponse', (await callUnary(session, 'DirectoryService/Propose', request))[0])
      need(r.state !== STATE.REFUSED, 'PERMISSION_DENIED', 'The proposal was refused.')
      if (r.state === STATE.ACCEPTED) return r.agreement
      await new Promise(d => setTimeout(d, pause))
    }
  }

  // ---- after a restart ----
  restore(lines: PeeringLine[]) {
    const { host } = this
    for (const l of lines) {
      const chain = verifyChain(l.chain.map(fromHex))
      if (!l.agreement) { host.peers.update(chain); continue }
      const envelope = fromHex(l.agreement), [proposer, acceptor] = l.proposer ? [host.chain, chain] : [chain, host.chain]
      const agreement = verifyAgreement(envelope, proposer, acceptor)
      if (!l.proposer) this.proposals.set(hex(agreement.digest), { agreement, chain, state: STATE.ACCEPTED, asked: 0, envelope })
      host.addLink(chain, agreement, l.proposer ? envelope : undefined)
    }
  }
}
