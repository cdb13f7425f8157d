// The node: identity, ports, peerings, and what entries, events and advertisements of its links lead to.
import { createCipheriv, createHmac, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext, type SecureContext } from 'node:tls'
import { applyTariff, down, rate } from './amounts.ts'
import { admit } from './admit.ts'
import { Catalog } from './catalog.ts'
import { OFFERS } from './conformance.ts'
import { checkLane, checkOrder, Consumers, textsFit, type Invocation } from './consumer.ts'
import { eq, hex, hopId, max, min, multihash, need, now, placeAllowed, Refusal, refuse, sha256 } from './core.ts'
import { Execution } from './execution.ts'
import { ClientCall, connect, GrpcServer, message, type ServerCall } from './grpc.ts'
import { checkUpdate, verifyAgreement, verifyChain, type Agreement, type Chain } from './identity.ts'
import { addSignature, openEnvelope, seal, SigningKey, TYPE } from './keys.ts'
import { Link, readFrame, unwrap, wrap, type LinkHost, type Stream, type Wire } from './link.ts'
import { KIND, type Taken } from './log.ts'
import { FEATURES, LIMITS } from './opening.ts'
import { cutProblem, Order, Placed, problemOf } from './orders.ts'
import { decode, encode } from './proto.ts'
import { tree } from './records.ts'
import { checkInput } from './schema.ts'
import { fromHex, Store } from './store.ts'
import { checkCertificates, makeCertificate, pem } from './x509.ts'

export interface Config {
  dir: string; grid: string; place: string; host: string; publicPort: number; peerPort: number; consumerPort: number
  accept: 'auto' | 'manual'; relays: boolean; markup: { num: bigint; den: bigint; fee: bigint }; outage: bigint
  accounts: { name: string; token: string; budget: bigint }[]
}
interface Proposal { agreement: Agreement; chain: Chain; state: number; asked: number; envelope?: Buffer }
interface Book { running: Set<Order>; orders: Map<number, Order>; placed: Map<number, Placed>; inputs: Map<number, Buffer>; queue: Order[] }

export class Node {
  chain!: Chain
  signingKey!: SigningKey
  secret!: Buffer
  private cert!: { der: Buffer; key: string }
  private store!: Store
  private context!: SecureContext
  private byCertificate = new Map<string, string>()     // fingerprint of the grid that lists a certificate
  private byName = new Map<string, string>()
  readonly asset = 'XTS'
  readonly scale = 6
  draining = false
  readonly grids = new Map<string, Chain>()            // pinned: peered with, by fingerprint
  readonly links = new Map<string, Link>()             // by genesis
  private books = new Map<Link, Book>()
  private proposals = new Map<string, Proposal>()
  catalog!: Catalog
  consumers!: Consumers
  ports = { public: 0, peer: 0, consumer: 0 }
  constructor(readonly config: Config) {}
  get grid() { return this.config.grid }
  get place() { return this.config.place }
  get relays() { return this.config.relays }
  get markup() { return this.config.markup }
  get fingerprint() { return this.chain.fingerprint }
  get ownChain() { return this.chain }
  get ownKeys() { return this.chain.keysEver }

  async start() {
    const c = this.config
    this.store = new Store(c.dir)
    const file = join(c.dir, 'identity.json'), kept = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null
    const root = kept ? SigningKey.fromSeed(Buffer.from(kept.root, 'hex')) : SigningKey.make()
    this.signingKey = kept ? SigningKey.fromSeed(Buffer.from(kept.signing, 'hex')) : SigningKey.make()
    this.secret = kept ? Buffer.from(kept.secret, 'hex') : randomBytes(32)
    this.cert = kept ? { der: Buffer.from(kept.cert, 'hex'), key: kept.certKey } : makeCertificate(c.grid)
    const tls = { cert: pem(this.cert.der), key: this.cert.key }
    this.context = createSecureContext({ ...tls, minVersion: 'TLSv1.2' })
    const publicServer = new GrpcServer({ ...tls, mutual: false }), peerServer = new GrpcServer({ ...tls, mutual: true }), plain = c.consumerPort >= 0 ? new GrpcServer() : null
    this.ports.public = await publicServer.listen(c.host, kept?.ports.public ?? c.publicPort)
    this.ports.peer = await peerServer.listen(c.host, kept?.ports.peer ?? c.peerPort)
    if (plain) this.ports.consumer = await plain.listen('127.0.0.1', c.consumerPort)
    const envelopes = kept ? kept.chain.map((h: string) => Buffer.from(h, 'hex')) : [seal(TYPE.descriptor, encode('Descriptor', {
      grid: c.grid, version: 1n, root_key: root.spki, issued_at: now(), signing_keys: [{ public_key: this.signingKey.spki, not_before: now() - 60000n, not_after: now() + 365n * 86400000n }],
      certificates: [this.cert.der], endpoints: [{ kind: 1, address: `${c.host}:${this.ports.public}` }, { kind: 2, address: `${c.host}:${this.ports.peer}` }], features: FEATURES, place: c.place }), [root])]
    this.chain = verifyChain(envelopes)
    writeFileSync(file, JSON.stringify({ root: hex(root.seed), signing: hex(this.signingKey.seed), secret: hex(this.secret), cert: hex(this.cert.der), certKey: this.cert.key,
      ports: this.ports, chain: this.chain.envelopes.map(hex) }), { mode: 0o600 })

    this.catalog = new Catalog(this as any)
    this.catalog.setOwn(OFFERS.map(o => ({ kind: 2, name: o.name, description: `The conformance offer ${o.name.split('/')[1]}.`, tags: ['conformance'], version: '1',
      input_schema: Buffer.from(o.schema), output_schema: Buffer.alloc(0), features: o.features, prices: o.prices.map(([unit, num, den]) => ({ unit, num: BigInt(num), den: BigInt(den) })),
      asset: 'XTS', scale: 6, charge_on: 1, place: c.place, energy: o.energy ?? [], origin: this.fingerprint })))
    this.consumers = new Consumers(this as any)
    this.consumers.accounts = c.accounts.map(a => ({ name: a.name, token: sha256(a.token), budget: a.budget, reserved: 0n, spent: 0n, invocations: new Map() }))
    publicServer.unary('DirectoryService/GetDescriptor', 'GetDescriptorRequest', 'GetDescriptorResponse', r => ({ descriptors: this.chain.envelopes.slice(Number(r.after_version)) }))
    publicServer.unary('DirectoryService/Propose', 'ProposeRequest', 'ProposeResponse', r => this.propose(r))
    this.consumers.serve(publicServer)
    if (plain) this.consumers.serve(plain)
    peerServer.handle('LinkService/Link', call => this.acceptLink(call))
    peerServer.handle('LinkService/SyncCatalog', call => this.serveSync(call))
    this.restore()
    setInterval(() => this.tick(), 100)
    setInterval(() => this.catalog.tick(), 10000)
  }

  // ---- peerings ----
  private propose(r: any): any {
    const chain = verifyChain(r.descriptors), a = verifyAgreement(r.agreement, chain)
    need(eq(a.terms.acceptor.fingerprint, this.fingerprint), 'AGREEMENT_INVALID', 'The agreement is with another grid.', { field: 'acceptor.fingerprint' })
    need(a.terms.acceptor.grid === this.grid, 'AGREEMENT_INVALID', 'The agreement names this grid otherwise.', { field: 'acceptor.grid' })
    need(a.terms.version === 1n, 'AGREEMENT_INVALID', 'The first agreement has version 1.', { field: 'version' })
    checkCertificates(chain.last.descriptor.certificates, chain.grid)
    const known = this.grids.get(chain.name) ?? this.catalog.chains.get(chain.name)
    if (known) checkUpdate(known, chain)
    need(this.pinned(chain.grid) === undefined || this.pinned(chain.grid) === chain.name, 'DESCRIPTOR_INVALID', 'The name belongs to another grid.', { version: chain.length, field: 'grid' })
    const digest = hex(a.digest)
    let p = this.proposals.get(digest)
    if (p) p.asked = Date.now()
    else {
      for (const [d, w] of this.proposals) if (w.state === 1 && Date.now() - w.asked > 600000) this.proposals.delete(d)      // nobody asks any longer
      need([...this.proposals.values()].filter(p => p.state === 1).length < 64, 'NODE_BUSY', 'Too many proposals wait.', { limit: 64 })
      this.proposals.set(digest, p = { agreement: a, chain, state: 1, asked: Date.now() })
      if (this.config.accept === 'auto') this.accept(digest)
    }
    return { state: p.state, agreement: p.envelope ?? Buffer.alloc(0) }
  }
  accept(digest: string) {
    const p = this.proposals.get(digest)
    if (!p || p.state !== 1) return
    const { agreement: a, chain } = p
    p.envelope = addSignature(a.envelope, this.signingKey)
    p.state = 2
    this.store.append('peerings.jsonl', { chain: chain.envelopes.map(hex), agreement: hex(p.envelope) })
    void this.keepUp(this.peer(chain, a, false))
  }
  private peer(chain: Chain, a: Agreement, asProposer: boolean): Link {
    if (!this.grids.has(chain.name)) this.pin(chain)
    this.newChain(chain)
    this.catalog.claimName(chain.grid, chain.name)
    if (!this.catalog.chains.has(chain.name)) this.catalog.chains.set(chain.name, chain)
    const link = new Link(this as unknown as LinkHost, a.genesis, a.terms, this.grids.get(chain.name)!, asProposer)
    this.links.set(link.name, link)
    this.books.set(link, { running: new Set(), orders: new Map(), placed: new Map(), inputs: new Map(), queue: [] })
    return link
  }
  // The other side of a proposal: meets a stranger (RFC 0004 section 3.8), proposes, and asks until it is decided.
  async propose_(address: string, fingerprint: string, terms: any): Promise<string> {
    let presented: Buffer | undefined
    const session = await connect(address, { admit: der => { presented = der; return true } })
    try {
      const chain = verifyChain(decode('GetDescriptorResponse', (await this.unary(session, 'DirectoryService/GetDescriptor', Buffer.alloc(0)))[0]).descriptors)
      need(chain.last.descriptor.certificates.some((x: Buffer) => eq(x, presented!)), 'CERTIFICATE_MISMATCH', 'The descriptor does not list the certificate that was presented.', { grid: chain.grid })
      need(chain.name === fingerprint && this.pinned(chain.grid) !== this.chain.name, 'DESCRIPTOR_INVALID', 'The grid has another fingerprint.', {})
      need((this.pinned(chain.grid) ?? chain.name) === chain.name, 'DESCRIPTOR_INVALID', 'The name belongs to another grid.', {})
      checkCertificates(chain.last.descriptor.certificates, chain.grid)
      const party = (c: Chain) => ({ fingerprint: c.fingerprint, grid: c.grid, nonce: randomBytes(32), credit_limit: terms.credit_limit, max_unagreed: terms.max_unagreed })
      const payload = encode('Agreement', { version: 1n, proposer: party(this.chain), acceptor: party(chain), asset: this.asset, scale: this.scale, suite: 'sha256-ed25519', claim_window_ms: terms.claim_window_ms ?? 60000n,
        max_skew_ms: terms.max_skew_ms ?? 2000n, rails: [], max_open_holds: terms.max_open_holds ?? 4096, max_hold_ms: terms.max_hold_ms ?? 3600000n, proposed_at: now() })
      const request = encode('ProposeRequest', { descriptors: this.chain.envelopes, agreement: seal(TYPE.agreement, payload, [this.signingKey]) })
      for (let pause = 500; ; pause = Math.min(30000, pause * 2)) {
        const r = decode('ProposeResponse', (await this.unary(session, 'DirectoryService/Propose', request))[0])
        need(r.state !== 3, 'PERMISSION_DENIED', 'The proposal was refused.')
        if (r.state === 2) {
          const a = verifyAgreement(r.agreement, this.chain, chain)
          need(eq(a.payload, payload), 'AGREEMENT_INVALID', 'Another agreement came back.', { field: 'payload' })
          this.store.append('peerings.jsonl', { chain: chain.envelopes.map(hex), agreement: hex(r.agreement), proposer: true })
          const link = this.peer(chain, a, true)
          this.agreements.set(link, r.agreement)
          void this.keepUp(link)
          return link.name
        }
        await new Promise(d => setTimeout(d, pause))
      }
    } finally { session.destroy() }
  }
  private agreements = new Map<Link, Buffer>()
  record(link: Link, g: any) {
    this.store.append(`link-${link.name}.jsonl`, { s: g.side, f: g.first, e: g.entries.map(hex), g: hex(g.sig), i: g.inputs.map((i: any) => [Number(i.order_seq), hex(i.data)]) })
  }
  remember(line: object) { this.store.append('catalog.jsonl', line) }
  keep(line: object) { this.store.append('invocations.jsonl', line) }
  // Comes back to what was last written; links then converge (RFC 0002, IT-ARC-011).
  private restore() {
    for (const l of this.store.read('peerings.jsonl')) {
      const chain = verifyChain(l.chain.map(fromHex))
      if (!l.agreement) { this.newChain(chain); continue }
      const a = l.proposer ? verifyAgreement(fromHex(l.agreement), this.chain, chain) : verifyAgreement(fromHex(l.agreement), chain, this.chain)
      if (!l.proposer) this.proposals.set(hex(a.digest), { agreement: a, chain, state: 2, asked: 0, envelope: fromHex(l.agreement) })
      const link = this.peer(chain, a, !!l.proposer)
      if (l.proposer) this.agreements.set(link, fromHex(l.agreement))
    }
    this.catalog.restore(this.store.read('catalog.jsonl'))
    const sent = new Map<string, [Link, number]>(), inputs = new Map<string, Buffer>()
    for (const link of this.links.values()) {
      for (const l of this.store.read(`link-${link.name}.jsonl`)) {
        const sig = fromHex(l.g)
        link.ledger.atomic(() => link.ledger.take(l.s, l.e.length ? l.f : 0, l.e.map(fromHex), decode('HeadSignature', sig), sig, l.s ? link.peer.keysEver : this.ownKeys))
        for (const [seq, data] of l.i) inputs.set(`${link.name} ${l.s} ${seq}`, fromHex(data))
      }
      this.catalog.restoreTariffs(link)
      for (const [seq, h] of link.ledger.logs[0].holds) sent.set(h.order.id, [link, seq])
    }
    const again: Placed[] = []
    const place = (link: Link, seq: number, placer: any, returns: boolean) => {
      const p = new Placed(this as any, link, link.ledger.logs[0].holds.get(seq)!.order, inputs.get(`${link.name} 0 ${seq}`) ?? Buffer.alloc(0), placer, returns)
      p.take(link.ledger.logs[0].holds.get(seq)!)
      this.book(link).placed.set(seq, p)
      again.push(p)
      return p
    }
    for (const [link, b] of this.books) for (const [seq, h] of link.ledger.logs[1].holds) {
      if (h.state !== 'OPEN') continue
      const o = new Order(link, h, inputs.get(`${link.name} 1 ${seq}`) ?? Buffer.alloc(0), () => 0n), below = sent.get(hopId(h.at, this.secret, link.ledger.head(1, seq), 0))
      b.orders.set(seq, o)
      if (below) {
        const down = below[0].ledger.logs[0].holds.get(below[1])!.order
        o.rate = { ...rate(this.catalog.ownTariff(link, Number(h.order.tariff_seq)), below[0].ledger.logs[1].tariffs.get(Number(down.tariff_seq))), lines: BigInt(h.order.prices.length) }
        o.state = 'running'
        o.sink = place(below[0], below[1], o, false)
      } else if (h.canceled) o.end({ state: 7, quantities: [], usage: [], problem: problemOf('CANCELED', 'The order was canceled.') })
      else o.end({ state: 6, quantities: [], usage: [], problem: problemOf('EXECUTION_LOST', 'The node was restarted during the work.') })
    }
    this.consumers.restore(this.store.read('invocations.jsonl'), (name, seq, i) => {
      const link = this.links.get(name)
      return link?.ledger.logs[0].holds.has(seq) ? place(link, seq, i, true) : undefined
    })
    for (const p of again) p.retell()
    for (const link of this.links.values()) void this.keepUp(link)
  }
  pinned(grid: string): string | undefined {
    if (grid === this.grid) return this.chain.name
    return this.byName.get(grid)
  }
  private pin(chain: Chain) {
    const list = (c?: Chain): Buffer[] => c?.last.descriptor.certificates ?? []
    for (const c of list(this.grids.get(chain.name))) this.byCertificate.delete(hex(sha256(c)))
    for (const c of list(chain)) this.byCertificate.set(hex(sha256(c)), chain.name)
    this.byName.set(chain.grid, chain.name)
    this.grids.set(chain.name, chain)
  }
  // A newer chain of a peer, whichever way it came.
  newChain(chain: Chain) {
    const held = this.grids.get(chain.name)
    if (held && chain.length > held.length) {
      try { checkUpdate(held, chain); checkCertificates(chain.last.descriptor.certificates, chain.grid) } catch { return }
      this.pin(chain)
      this.store.append('peerings.jsonl', { chain: chain.envelopes.map(hex) })
      for (const l of this.links.values()) if (l.peer.name === chain.name) l.peer = chain
    }
    const seen = this.catalog.chains.get(chain.name)
    if (held && (!seen || seen.length < chain.length)) this.catalog.chains.set(chain.name, chain)
  }
  gridName(fp: Buffer): string {
    if (eq(fp, this.fingerprint)) return this.grid
    return (this.grids.get(hex(fp)) ?? this.catalog.chains.get(hex(fp)))?.grid ?? hex(fp)
  }
  catalogChanged() {}

  // ---- streams ----
  private callerOf(call: ServerCall): string {
    const der = call.peerCertificate
    return (der && this.byCertificate.get(hex(sha256(der)))) ?? refuse('UNKNOWN_PEER', 'No peering with this grid is known.')
  }
  private acceptLink(call: ServerCall) {
    const fp = this.callerOf(call)
    const wire: Wire = { write: f => { call.write(wrap(f)) }, end: () => call.end(), cut: () => { if (!call.gone) call.cut() }, get buffered() { return call.buffered } }
    const stream: Stream = { wire, dialled: false, gotOpen: false, closed: false, since: Date.now() }
    let link: Link | null = null
    const close = (e: any) => {
      if (stream.closed) return
      stream.closed = true
      wire.write(encode('Frame', { close: (e instanceof Refusal ? e : new Refusal('INTERNAL', 'The node broke one of its own rules.')).problem }))
      wire.end(); setTimeout(() => wire.cut(), 1000).unref()
    }
    const silent = setTimeout(() => close(new Refusal('SILENT_PEER', 'No frame has arrived.', { silence_ms: 10000 })), 10000)
    const take = (m: Buffer) => {
      clearTimeout(silent)
      if (link) { link.receive(stream, unwrap(m)); this.settled(link); return }
      if (stream.closed) return
      try {
        const bytes = unwrap(m), f = readFrame(bytes)
        if (f.close) { stream.closed = true; wire.end(); return }
        need(f.open.length, 'UNEXPECTED_FRAME', 'The first frame is no Open.', { state: 'down' })
        const e = openEnvelope(f.open)
        let o: any
        try { o = decode('Open', e.payload) } catch { refuse('FRAME_MALFORMED', 'The payload is no Open.', { field: 'open' }) }
        const found = this.links.get(hex(o.genesis))
        need(found && found.peer.name === fp, 'UNKNOWN_GENESIS', 'No peering with this grid begins at this genesis.')
        link = found!
        link.receive(stream, bytes); this.settled(link)
      } catch (e) { if (!(e instanceof Refusal)) console.error(e); close(e) }
    }
    call.onMessage = take
    for (const m of call.takeQueued()) take(m)
    const ended = () => { clearTimeout(silent); if (link) link.ended(stream); else if (!stream.closed) { stream.closed = true; wire.end() } }
    call.onEnd = ended; call.onGone = ended
    if (call.isEnded) ended()
  }
  private async dial(link: Link) {
    const address = link.peer.endpoints(2)[0]
    const session = await connect(address, { context: this.context, grid: link.peer.grid, admit: der => link.peer.last.descriptor.certificates.some((x: Buffer) => eq(x, der)) })
    if (link.state !== 'down') { session.close(); return }
    const call = new ClientCall(session, 'LinkService/Link')
    const wire: Wire = { write: f => call.write(wrap(f)), end: () => call.end(), cut: () => { call.cut(); session.destroy() }, get buffered() { return call.buffered } }
    const stream = link.dialled(wire)
    if (!stream) return
    call.onMessage = m => { link.receive(stream, unwrap(m)); this.settled(link) }
    await new Promise<void>(done => { call.onEnd = () => { link.ended(stream); session.destroy(); done() } })
  }
  private async keepUp(link: Link) {
    for (let delay = 100, asked = 0; ; ) {
      const before = Date.now()
      if (link.state === 'down' && link.peer.endpoints(2).length) {
        try { await this.dial(link) } catch {
          if (Date.now() - asked > 10000) { asked = Date.now(); await this.askChain(link).catch(() => {}) }
        }
        if (Date.now() - before > 2000) delay = 100
      }
      await new Promise(r => setTimeout(r, delay * (0.5 + Math.random() / 2)))
      if (link.state !== 'down') delay = 100; else delay = Math.min(4000, delay * 2)
    }
  }
  private async askChain(link: Link) {
    const address = link.peer.endpoints(1)[0]
    if (!address) return
    let presented: Buffer | undefined
    const session = await connect(address, { admit: der => { presented = der; return true }, grid: link.peer.grid })
    try {
      const r = (await this.unary(session, 'DirectoryService/GetDescriptor', encode('GetDescriptorRequest', {}))).map(m => decode('GetDescriptorResponse', m))[0]
      const chain = verifyChain(r.descriptors)
      if (chain.name === link.peer.name && chain.last.descriptor.certificates.some((c: Buffer) => eq(c, presented!))) this.newChain(chain)
    } finally { session.destroy() }
  }
  private unary(session: any, path: string, request: Buffer): Promise<Buffer[]> {
    return new Promise((done, failed) => {
      const call = new ClientCall(session, path), out: Buffer[] = []
      const timer = setTimeout(() => call.cut(), 20000)
      let size = 0
      call.onMessage = m => { out.push(m); if ((size += m.length) > 67108864 + 1e6 || out.length > 4097) call.cut() }
      call.onEnd = code => { clearTimeout(timer); code === 0 ? done(out) : failed(new Error('status ' + code)) }
      call.write(request); call.end()
    })
  }
  async sync(link: Link, root: Buffer, have: Buffer[]): Promise<Buffer[]> {
    const address = link.peer.endpoints(2)[0]
    if (!address) throw new Error('no endpoint')
    const session = await connect(address, { context: this.context, grid: link.peer.grid, admit: der => link.peer.last.descriptor.certificates.some((x: Buffer) => eq(x, der)) })
    try {
      const items = (await this.unary(session, 'LinkService/SyncCatalog', encode('SyncCatalogRequest', { genesis: link.genesis, root, have }))).map(m => decode('SyncCatalogResponse', m))
      if (items.at(-1)?.end === undefined || items.at(-1).end !== BigInt(items.length - 1)) throw new Error('no end')
      return items.slice(0, -1).map(i => i.offer ?? Buffer.alloc(0))
    } finally { session.destroy() }
  }
  private async serveSync(call: ServerCall) {
    const fp = this.callerOf(call), r = message('SyncCatalogRequest', await call.request())
    const link = this.links.get(hex(r.genesis))
    need(link && link.peer.name === fp, 'UNKNOWN_GENESIS', 'No peering with this grid begins at this genesis.')
    const have = new Set(r.have.map(hex))
    let n = 0n
    for (const o of this.catalog.offersOf(r.root)) if (!have.has(hex(o.digest))) { call.write(encode('SyncCatalogResponse', { offer: o.bytes })); n++; await call.drained() }
    call.write(encode('SyncCatalogResponse', { end: n })); call.end()
  }

  // ---- what links tell ----
  private book(link: Link) { return this.books.get(link)! }
  inputs(link: Link, taken: Taken[], inputs: any[]) {
    const b = this.book(link), fresh = new Set(taken.filter(t => t.entry.order && t.hold).map(t => t.seq))
    for (const i of inputs) if (fresh.has(Number(i.order_seq))) b.inputs.set(Number(i.order_seq), i.data)
  }
  inputOf(link: Link, seq: number) { return this.book(link).placed.get(seq)?.input }
  entry(link: Link, t: Taken, later: Taken[] = []) {
    if (t.void || t.entry.kind >= 128) return
    const e = t.entry, b = this.book(link)
    switch (e.kind) {
      case KIND.ORDER: this.arrived(link, t, later); break
      case KIND.GRANT: b.orders.get(Number(e.grant.order_seq))?.granted(); break
      case KIND.CANCEL: { const o = b.orders.get(Number(e.cancel.order_seq)); if (o && o.hold.canceled) o.cancel(); break }
      case KIND.EXPIRE: b.orders.get(Number(e.expire.order_seq))?.over(); break
      case KIND.REJECT: b.placed.get(Number(e.reject.order_seq))?.entry(e.kind, t.seq, e); break
      case KIND.CHARGE: b.placed.get(Number(e.charge.order_seq))?.entry(e.kind, t.seq, e); break
      case KIND.CREDIT: (b.placed.get(Number(e.credit.order_seq))?.placer as Invocation)?.credited?.(); break
    }
  }
  frame(link: Link, f: any) {
    const b = this.book(link)
    for (const e of f.events) {
      const n = Number(e.order_seq)
      if (e.input_reply || e.resume || e.byte_credit) {
        const o = b.orders.get(n)
        if (o) o.fromPayer(e)
        else if (e.resume) link.event({ order_seq: e.order_seq, at: now(), gap: { first: e.resume.after_seq + 1n, last: 0n, problem: problemOf('EVENTS_GONE', 'Nothing is known of this order.') } })
      } else b.placed.get(n)?.event(e)
    }
    if (f.advertisements.length) this.catalog.receive(link, f.advertisements)
  }
  opened(link: Link) {
    const b = this.book(link), agreement = this.agreements.get(link)
    if (agreement && link.ledger.seq(0) === 0) link.append(KIND.AGREEMENT, 'agreement', { agreement })
    for (const o of b.orders.values()) o.opened()
    for (const p of b.placed.values()) { p.opened(); (p.placer as Invocation).opened?.call(p.placer) }
    this.catalog.opened(link)
  }
  lost(link: Link) { for (const o of this.book(link).orders.values()) o.lost(); this.catalog.lost(link) }
  // After a frame: room may have come for what waits.
  private settled(link: Link) {
    const b = this.book(link)
    if (!link.writable) return
    if (b.queue.length) this.retry(link)
    for (const o of b.running) if (o.state === 'running' && o.sink instanceof Execution) o.sink.wake(); else b.running.delete(o)
    for (const p of b.placed.values()) if (!p.over) p.settle()
  }
  place_(p: Placed) { p.place(); this.book(p.link).placed.set(p.seq, p) }

  // ---- orders of peers ----
  private arrived(link: Link, t: Taken, later: Taken[]) {
    const b = this.book(link), hold = t.hold!, o = new Order(link, hold, b.inputs.get(t.seq) ?? Buffer.alloc(0), () => b.queue.reduce((n, q) => q.state === 'waiting' && q.hold.state === 'OPEN' ? n + q.grant() : n, 0n))
    b.inputs.delete(t.seq)
    b.orders.set(t.seq, o)
    if (hold.state !== 'OPEN') { o.state = 'ended'; return }
    let gross = link.ledger.gross(1), unagreed = link.ledger.unagreed(1), open = link.ledger.lanes[1].open
    for (const x of later) if (x.hold && x.entry.order && x.hold.state === 'OPEN') { gross -= x.hold.order.max_charge; unagreed -= x.hold.grants.at(-1)!.amount; open-- }
    const offer = this.catalog.byDigest(hold.order.offer_digest), own = offer && this.catalog.isOwn(offer.digest)
    try {
      const result = admit({ order: hold.order, input: o.input, now: now(), draining: this.draining, suspended: link.suspended,
        own: { grid: this.grid, inline_bytes: LIMITS.inline_bytes, input_bytes: LIMITS.input_bytes, orders: LIMITS.orders },
        terms: { ...link.peerTerms, max_open_holds: link.agreement.max_open_holds, max_skew_ms: link.agreement.max_skew_ms },
        lane: { gross, unagreed, open }, offer: own || this.relays ? offer?.offer : undefined,
        tariff: this.catalog.ownTariff(link, Number(hold.order.tariff_seq)), newestTariff: offer ? this.catalog.newestTariff(link, offer.offer.origin) : 0,
        fits: own ? input => checkInput(own.offer.input_schema, input) : undefined })
      if (hold.canceled) refuse('CANCELED', 'The order was canceled before it began.')
      if (result === 'waits') b.queue.push(o); else this.begin(o)
    } catch (e: any) { if (!(e instanceof Refusal)) throw e; o.rejected(e.problem) }
  }
  private retry(link: Link) {
    const b = this.book(link)
    b.queue = b.queue.filter(o => o.state === 'waiting' && o.hold.state === 'OPEN')
    let behind = b.queue.reduce((n, o) => n + o.grant(), 0n)
    while (b.queue.length) {
      const o = b.queue[0]
      behind -= o.grant()
      if (link.ledger.unagreed(1) - behind > link.peerTerms.max_unagreed) break
      b.queue.shift()
      try { this.begin(o) } catch (e: any) { if (!(e instanceof Refusal)) throw e; o.rejected(e.problem) }
    }
  }
  private begin(o: Order) {
    const order = o.order, offer = this.catalog.byDigest(order.offer_digest)
    need(offer, 'OFFER_UNKNOWN', 'The offer is not known any longer.', { offer: hex(order.offer_digest) })
    const places = order.policy?.places ?? []
    if (this.catalog.isOwn(order.offer_digest)) {
      const place = offer!.offer.place || this.place
      need(placeAllowed(places, place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place })
      o.state = 'running'
      const x = new Execution(this as any, { offer: offer!.offer, offerDigest: offer!.digest, run: this.runOf(offer!.offer.name), input: { media_type: order.input.media_type, data: o.input },
        inputDigest: order.input.digest, nonce: order.nonce, prices: order.prices, maxCharge: order.max_charge, deadline: order.deadline }, o)
      o.sink = x
      this.book(o.link).running.add(o)
      x.start()
    } else this.relay(o, offer!, places)
  }
  // RFC 0011 section 3.1.
  private relay(o: Order, offer: any, places: string[]) {
    const order = o.order, up = o.link
    need(order.hop_limit >= 1, 'HOP_LIMIT', 'The order may take no further hop.', { hop_limit: order.hop_limit })
    need(placeAllowed(places, offer.offer.place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place: offer.offer.place })
    const way = this.catalog.ways(offer, { asset: up.agreement.asset, scale: up.agreement.scale, except: up })[0], link = way.link
    const ut = this.catalog.ownTariff(up, Number(order.tariff_seq))
    need(ut, 'PRICE_CHANGED', 'The tariff is not known any longer.', { tariff_seq: this.catalog.newestTariff(up, offer.offer.origin) })
    let r: any
    try { r = { ...rate(ut, way.tariff), lines: BigInt(order.prices.length) } } catch (e: any) { refuse('PRICE_CHANGED', e.message, { tariff_seq: this.catalog.newestTariff(up, offer.offer.origin) }) }
    const skew = max(up.agreement.max_skew_ms, link.agreement.max_skew_ms), margin = this.config.outage + 2n * skew
    const deadline = min(order.deadline, o.hold.claimUntil - link.agreement.claim_window_ms - margin)
    need(deadline > now(), 'DEADLINE_EXCEEDED', 'No time is left for the next grid.', { deadline })
    need(o.input.length <= link.peerLimits.inline_bytes, 'INPUT_TOO_LARGE', 'The input is larger than the next grid takes.', { size: o.input.length })
    const path = [...order.path, this.grid]
    textsFit(path, order.actors, places, [order.session, order.group, order.input.media_type])
    const max_charge = down(order.max_charge, r), grant = offer.offer.charge_on === 2 ? max_charge : min(down(order.grant, r), max_charge)
    checkLane(link, max_charge, grant, () => this.shares(o, link, max_charge, grant))
    const head = up.ledger.head(1, o.seq)
    const placed = { id: hopId(o.hold.at, this.secret, head, 0), offer_digest: order.offer_digest, tariff_seq: BigInt(way.route.tariffSeq), input: { ...order.input, encoding: '' }, prices: applyTariff(offer.offer.prices, way.tariff),
      max_charge, grant, deadline, hop_limit: order.hop_limit - 1, path, actors: order.actors, policy: order.policy, nonce: order.nonce, session: order.session, group: order.group, account: this.sealed(up, o.seq) }
    checkOrder(link, placed)
    o.rate = r
    o.state = 'running'
    const p = new Placed(this as any, link, placed, o.input, o as any, false)
    o.sink = p
    this.place_(p)
  }
  // Section 3.10: one upstream uses no more than half of each limit once all together use more than that.
  private shares(o: Order, link: Link, maximum: bigint, grant: bigint) {
    if ([...this.links.values()].filter(l => l !== link && !l.suspended).length < 2) return
    const t = link.ownTerms, l = link.ledger, holds = Math.min(link.agreement.max_open_holds, link.peerLimits.orders)
    const half = [t.credit_limit / 2n, t.max_unagreed / 2n, BigInt(Math.floor(holds / 2))], all = [l.gross(0) + maximum, l.unagreed(0) + grant, BigInt(l.lanes[0].open) + 1n]
    if (all.every((x, i) => x <= half[i])) return
    let use = [maximum, grant, 1n]
    for (const p of this.book(link).placed.values()) {
      const up = p.placer as unknown as Order
      if (!(up instanceof Order) || up.link !== o.link) continue
      const h = p.hold, c = h.claims.at(-1)?.amount ?? 0n, open = h.state === 'OPEN'
      use = [use[0] + (open ? h.order.max_charge : c), use[1] + (open ? h.grants.at(-1)!.amount - c : 0n), use[2] + (open ? 1n : 0n)]
    }
    need(use.every((x, i) => x <= half[i]), 'SHARE_EXCEEDED', 'This upstream uses its share of a limit further down.')
  }
  private sealed(link: Link, seq: number): string {
    const plain = Buffer.concat([link.genesis, Buffer.from(String(seq))]), iv = createHmac('sha256', this.secret).update('iv\0').update(plain).digest().subarray(0, 12)
    const c = createCipheriv('aes-256-gcm', createHmac('sha256', this.secret).update('seal\0').digest(), iv)
    return Buffer.concat([iv, c.update(plain), c.final(), c.getAuthTag()]).toString('base64url')
  }

  // ---- work ----
  runOf(name: string) { return OFFERS.find(o => o.name === name)!.run }
  executorOf(digest: Buffer, named?: Buffer) { return this.catalog.executorOf(digest, named) }
  private batch: { record: Buffer; done: (proof: any) => void }[] = []
  prove(record: Buffer): Promise<any> {
    return new Promise(done => {
      this.batch.push({ record, done })
      if (this.batch.length === 1) setImmediate(() => {
        const list = this.batch.splice(0), t = tree(list.map(b => b.record))
        const root = seal(TYPE.record, encode('RecordRoot', { executor: this.fingerprint, root: t.root, size: BigInt(list.length), signed_at: now() }), [this.signingKey])
        list.forEach((b, i) => b.done({ record: b.record, root, index: BigInt(i), path: t.paths[i] }))
      })
    })
  }

  private tick() {
    const t = now()
    for (const [link, b] of this.books) {
      link.tick()
      const may = link.writable || link.state === 'down' && link.everOpen
      for (const p of [...b.placed.values()]) {
        if (p.hold.state === 'OPEN' && p.hold.claimUntil <= t && may) { link.append(KIND.EXPIRE, 'expire', { order_seq: BigInt(p.seq) }); p.expire() }
        else if (p.hold.state !== 'OPEN' && p.hold.claimUntil + 600000n < t) b.placed.delete(p.seq)
      }
      for (const o of b.queue) if (o.state === 'waiting' && o.order.deadline <= t) o.rejected(problemOf('DEADLINE_EXCEEDED', 'The order waited until its deadline.', { deadline: o.order.deadline }))
      if (b.queue.length && link.writable) this.retry(link)
    }
    this.consumers.tick()
  }
}
export { cutProblem, multihash }
