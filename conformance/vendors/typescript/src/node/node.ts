// The node: what holds its parts together, and what the links tell them.
import { join } from 'node:path'
import type { SecureContext } from 'node:tls'
import { Catalog, type CatalogHost } from '../catalog/catalog.ts'
import { OFFERS } from '../conformance.ts'
import { Account } from '../consumer/account.ts'
import { Consumers, type ConsumerHost } from '../consumer/consumers.ts'
import { serveConsumers } from '../consumer/face.ts'
import { hex, nothing, now, refuse } from '../core.ts'
import type { Run } from '../execution.ts'
import type { Group } from '../frames.ts'
import { GrpcServer } from '../grpc.ts'
import type { Side, Taken } from '../holds.ts'
import type { Agreement, Chain } from '../identity.ts'
import type { SigningKey } from '../keys.ts'
import { Link, type LinkHost } from '../link.ts'
import type * as Msg from '../messages.ts'
import type { Placed } from '../placed.ts'
import type { Draft } from '../proto.ts'
import { Store, type BeginLine, type CatalogLine, type EndLine } from '../store.ts'
import { Book } from './book.ts'
import { Dialling, type DiallingHost } from './dialling.ts'
import { servePeers, type ListeningHost } from './listening.ts'
import { Own, type Ports } from './own.ts'
import { Peering, type PeeringHost } from './peering.ts'
import { Peers, type PeersHost } from './peers.ts'
import { BatchProver } from './prover.ts'
import { Provider, type ProviderHost } from './provider.ts'
import { Relay, type RelayHost } from './relay.ts'
import { Restart, type RestartHost } from './restart.ts'

export interface Config {
  dir: string; grid: string; place: string; host: string; publicPort: number; peerPort: number; consumerPort: number
  accept: 'auto' | 'manual'; relays: boolean; markup: { num: bigint; den: bigint; fee: bigint }; outage: bigint
  accounts: { name: string; token: string; budget: bigint }[]
}
type Hosts = LinkHost & CatalogHost & ConsumerHost & PeersHost & PeeringHost & DiallingHost & ListeningHost &
  ProviderHost & RelayHost & RestartHost

export class Node implements Hosts {
  readonly asset = 'XTS'
  readonly scale = 6
  readonly draining = false
  readonly links = new Map<string, Link>()               // by genesis
  readonly store: Store
  readonly catalog: Catalog
  readonly consumers: Consumers
  readonly peers: Peers
  readonly peering: Peering
  readonly relay: Relay
  ports: Ports = { public: 0, peer: 0, consumer: 0 }
  private readonly own: Own
  private readonly books = new Map<Link, Book>()
  private readonly dialling: Dialling
  private readonly provider: Provider
  private readonly prover: BatchProver
  constructor(readonly config: Config) {
    this.store = new Store(config.dir)
    this.own = new Own(join(config.dir, 'identity.json'), config.grid)
    this.catalog = new Catalog(this)
    this.consumers = new Consumers(this, config.accounts.map(a => new Account(a.name, a.token, a.budget)))
    this.peers = new Peers(this)
    this.peering = new Peering(this)
    this.relay = new Relay(this)
    this.dialling = new Dialling(this)
    this.provider = new Provider(this)
    this.prover = new BatchProver(this)
  }

  async start() {
    const { config, own } = this
    const atPublic = new GrpcServer({ ...own.tls, mutual: false }), atPeer = new GrpcServer({ ...own.tls, mutual: true })
    const plain = config.consumerPort >= 0 ? new GrpcServer() : null
    this.ports.public = await atPublic.listen(config.host, own.ports?.public ?? config.publicPort)
    this.ports.peer = await atPeer.listen(config.host, own.ports?.peer ?? config.peerPort)
    if (plain) this.ports.consumer = await plain.listen('127.0.0.1', config.consumerPort)
    own.describe(config.host, config.place, this.ports)
    this.catalog.own.set(this.offers())
    this.serveDirectory(atPublic)
    servePeers(atPeer, this)
    serveConsumers(atPublic, this.consumers)
    if (plain) serveConsumers(plain, this.consumers)
    new Restart(this).run()
    for (const link of this.links.values()) void this.keepUp(link)
    setInterval(() => this.tick(), 100)
    setInterval(() => this.catalog.tick(), 10000)
  }
  private offers(): Draft<Msg.Offer>[] {
    return OFFERS.map(o => ({ kind: 2, name: o.name, description: `The conformance offer ${o.name.split('/')[1]}.`, tags: ['conformance'],
      version: '1', input_schema: Buffer.from(o.schema), output_schema: nothing, features: o.features,
      prices: o.prices.map(([unit, num, den]) => ({ unit, num: BigInt(num), den: BigInt(den) })),
      asset: this.asset, scale: this.scale, charge_on: 1, place: this.place, energy: o.energy ?? [], origin: this.fingerprint }))
  }
  private serveDirectory(server: GrpcServer) {
    server.unary('DirectoryService/GetDescriptor', 'GetDescriptorRequest', 'GetDescriptorResponse',
      r => ({ descriptors: this.chain.envelopes.slice(Number(r.after_version)) }))
    server.unary('DirectoryService/Propose', 'ProposeRequest', 'ProposeResponse', r => this.peering.propose(r))
  }
  private tick() {
    const t = now()
    for (const b of this.books.values()) {
      b.tick(t)
      if (b.queue.length && b.link.writable) this.provider.retry(b)
    }
    this.consumers.tick()
  }

  // ---- what this grid is ----
  get grid(): string { return this.config.grid }
  get place(): string { return this.config.place }
  get relays(): boolean { return this.config.relays }
  get markup() { return this.config.markup }
  get outage(): bigint { return this.config.outage }
  get acceptsAll(): boolean { return this.config.accept === 'auto' }
  get chain(): Chain { return this.own.chain }
  get ownChain(): Chain { return this.own.chain }
  get ownKeys(): Buffer[] { return this.own.chain.keysEver }
  get fingerprint(): Buffer { return this.own.chain.fingerprint }
  get signingKey(): SigningKey { return this.own.signingKey }
  get secret(): Buffer { return this.own.secret }
  get context(): SecureContext { return this.own.context }

  // ---- peers and their links ----
  pinned(grid: string) { return this.peers.pinned(grid) }
  newChain(chain: Chain) { this.peers.update(chain) }
  gridName(fingerprint: Buffer) { return this.peers.gridName(fingerprint) }
  addLink(chain: Chain, a: Agreement, countersigned?: Buffer): Link {
    const link = new Link(this, a.genesis, a.terms, this.peers.add(chain), countersigned !== undefined)
    this.links.set(link.name, link)
    this.books.set(link, new Book(link, countersigned))
    return link
  }
  book(link: Link): Book { return this.books.get(link) ?? refuse('UNKNOWN_GENESIS', 'There is no such link.') }
  keepUp(link: Link) { return this.dialling.keepUp(link) }
  sync(link: Link, root: Buffer, have: Buffer[]) { return this.dialling.sync(link, root, have) }

  // ---- what links tell ----
  inputs(link: Link, taken: Taken[], inputs: Msg.OrderInput[]) { this.book(link).takeInputs(taken, inputs) }
  inputOf(link: Link, seq: number) { return this.book(link).placed.get(seq)?.input }
  entry(link: Link, t: Taken, later: Taken[]) {
    if (t.void || t.entry.kind >= 128) return
    if (t.entry.order && t.hold) this.provider.arrived(this.book(link), t.hold, later); else this.book(link).entry(t)
  }
  frame(link: Link, f: Msg.Frame) {
    for (const e of f.events) this.book(link).event(e)
    if (f.advertisements.length) this.catalog.routes.receive(link, f.advertisements)
  }
  opened(link: Link) { this.book(link).opened(); this.catalog.opened(link) }
  lost(link: Link) { this.book(link).lost(); this.catalog.lost(link) }
  settled(link: Link) {
    const b = this.book(link)
    if (!link.writable) return
    if (b.queue.length) this.provider.retry(b)
    b.wake()
  }

  // ---- work, and what is kept of it ----
  runOf(name: string): Run {
    return OFFERS.find(o => o.name === name)?.run ?? refuse('OFFER_UNKNOWN', 'No such offer is known here.', { offer: name })
  }
  executorOf(offerDigest: Buffer, named?: Buffer) { return this.catalog.finding.executorOf(offerDigest, named) }
  prove(record: Buffer) { return this.prover.prove(record) }
  placeOrder(p: Placed) { p.place(); this.book(p.link).placed.set(p.seq, p) }
  record(link: Link, side: Side, g: Group) {
    const inputs = g.inputs.map((i): [number, string] => [Number(i.order_seq), hex(i.data)])
    this.store.append(`link-${link.name}.jsonl`, { s: side, f: g.first, e: g.entries.map(hex), g: hex(g.sig), i: inputs })
  }
  remember(line: CatalogLine) { this.store.append('catalog.jsonl', line) }
  keep(line: BeginLine | EndLine) { this.store.append('invocations.jsonl', line) }
}
