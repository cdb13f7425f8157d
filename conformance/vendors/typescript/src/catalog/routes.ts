// What other grids offer: advertisements as they come, the routes that they make, and the offers behind them (RFC 0008).
import { eq, hex, multihash, need, now, Refusal } from '../core.ts'
import { checkContinues, verifyChain, verifyOffer, verifyRoot, type Chain } from '../identity.ts'
import { openEnvelope } from '../keys.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { decode, encode } from '../proto.ts'
import { fromHex, type CatalogLine } from '../store.ts'
import { offerOf, type Offer } from './offers.ts'

const ROUTES = 4096, ATTEMPTS = 20, ADS_A_TURN = 50

export interface Route {
  origin: string; chain: Chain; root: Msg.CatalogRoot; rootBytes: Buffer; rootDigest: Buffer
  path: Buffer[]; names: string[]; tariffSeq: number; epoch: bigint
  state: 'in' | 'down' | 'withdrawn'
  ready: boolean                                   // all of its offers are here
  base?: Buffer                                    // as it is advertised further, but for the tariff
}
// What one link has told; firstRound: whether a whole round has come since it opened.
export interface Heard { routes: Map<string, Route>; firstRound: boolean }
export interface RoutesHost {
  chain: Chain; grid: string; links: Map<string, Link>
  sync(link: Link, root: Buffer, have: Buffer[]): Promise<Buffer[]>
  pinned(grid: string): string | undefined        // fingerprint of the pinned grid of that name
  newChain(chain: Chain): void
  remember(line: CatalogLine): void
}
// A route that is to be made, of what has been verified.
interface Verified { route: Msg.OriginRoute; chain: Chain; root: Msg.CatalogRoot; digest: Buffer }
const cutName = (n: string) => [...n].slice(0, 253).join('')

export class Routes {
  readonly byLink = new Map<Link, Heard>()
  readonly chains = new Map<string, Chain>()       // newest seen of each origin
  readonly names = new Map<string, string>()       // grid name -> fingerprint first seen under it
  readonly offers = new Map<string, Offer>()       // of other grids, by digest
  private readonly rootVersions = new Map<string, bigint>()
  private readonly fetching = new Set<string>()
  private readonly inbox = new Map<Link, Msg.Advertisement[]>()
  constructor(private readonly host: RoutesHost, private readonly changed: () => void) {}

  of(link: Link): Heard {
    let heard = this.byLink.get(link)
    if (!heard) this.byLink.set(link, heard = { routes: new Map(), firstRound: false })
    return heard
  }
  *all(): Generator<[Link, Route]> {
    for (const [link, heard] of this.byLink) for (const r of heard.routes.values()) yield [link, r]
  }
  opened(link: Link) { this.of(link).firstRound = false }
  lost(link: Link) {
    const waiting = this.inbox.get(link)
    if (waiting) { waiting.length = 0; this.inbox.delete(link) }
    for (const r of this.of(link).routes.values()) if (r.state === 'in') r.state = 'down'
  }

  // ---- receiving ----
  // Advertisements are taken a few at a time, so that many of them hold nothing else up.
  receive(link: Link, ads: Msg.Advertisement[]) {
    const waiting = this.inbox.get(link)
    if (waiting) { waiting.push(...ads); return }
    const list = [...ads]
    const work = () => {
      for (const ad of list.splice(0, ADS_A_TURN)) this.advertised(link, ad)
      if (this.inbox.get(link) !== list) return
      if (list.length) setImmediate(work); else this.inbox.delete(link)
    }
    this.inbox.set(link, list)
    work()
  }
  private advertised(link: Link, ad: Msg.Advertisement) {
    const heard = this.of(link)
    if (ad.end === true) {
      heard.firstRound = true
      this.withdraw([...heard.routes.values()].filter(r => r.epoch !== ad.epoch))
    } else if (ad.route) {
      const origin = ad.route.path.at(-1)
      try { this.take(link, heard, ad.epoch, ad.route) } catch (e) {
        if (!(e instanceof Refusal)) throw e
        const old = heard.routes.get(origin ? hex(origin) : '')
        if (old) this.withdraw([old])
      }
    }
  }
  private withdraw(routes: Route[]) {
    const present = routes.filter(r => r.state !== 'withdrawn')
    for (const r of present) r.state = 'withdrawn'
    if (present.length) this.changed()
  }
  private take(link: Link, heard: Heard, epoch: bigint, route: Msg.OriginRoute) {
    this.checkPath(link, route.path)
    const chain = verifyChain(route.descriptors), origin = chain.name
    need(eq(chain.fingerprint, route.path[route.path.length - 1]), 'DESCRIPTOR_INVALID')
    need(this.nameFree(chain.grid, origin), 'DESCRIPTOR_INVALID')
    const known = this.chains.get(origin), newest = newer(known, chain)
    const { root, digest } = verifyRoot(route.root, newest, now())
    need(root.version >= (this.rootVersions.get(origin) ?? 0n), 'INVALID_ARGUMENT')
    const tariff = link.ledger.logs[1].tariffs.get(Number(route.tariff_seq))
    need(tariff && hex(tariff.origin) === origin, 'TARIFF_INVALID')
    if (known && chain.length >= known.length) checkContinues(known, chain)
    if (!heard.routes.has(origin) && heard.routes.size >= ROUTES) return
    if (newest !== known) { this.chains.set(origin, newest); this.host.newChain(newest) }
    this.names.set(chain.grid, origin)
    this.rootVersions.set(origin, root.version)
    this.host.remember({ link: link.name, route: hex(encode('OriginRoute', route)) })
    this.adopt(link, heard, { route, chain: newest, root, digest }, epoch, epoch === 0n ? 'withdrawn' : 'in')
    this.changed()
  }
  private checkPath(link: Link, path: Buffer[]) {
    const own = this.host.chain.fingerprint
    need(path.length >= 1 && path.length <= 16 && eq(path[0], link.peer.fingerprint) && !path.some(p => eq(p, own)), 'LOOP')
  }
  private adopt(link: Link, heard: Heard, v: Verified, epoch: bigint, state: Route['state']) {
    const { route: { root: rootBytes, path, path_names, tariff_seq }, chain, root, digest } = v, origin = chain.name
    const names = path_names.slice(0, path.length).map(cutName), ready = root.offers.every(d => this.offers.has(hex(d)))
    const route: Route = { origin, chain, root, rootBytes, rootDigest: digest, path, names, tariffSeq: Number(tariff_seq), epoch,
      state, ready }
    heard.routes.set(origin, route)
    if (state === 'in') void this.fetch(link, route)
  }

  // ---- names ----
  private nameFree(grid: string, origin: string) {
    if (grid === this.host.grid) return origin === this.host.chain.name
    const pinned = this.host.pinned(grid)
    if (pinned) return pinned === origin
    return (this.names.get(grid) ?? origin) === origin
  }
  // A grid that is peered with bears its name from then on, whoever was heard of under it.
  claimName(grid: string, fingerprint: string) {
    const other = this.names.get(grid)
    this.names.set(grid, fingerprint)
    if (other && other !== fingerprint) for (const heard of this.byLink.values()) heard.routes.delete(other)
  }

  // ---- offers ----
  private async fetch(link: Link, route: Route, attempt = 0) {
    const key = link.name + hex(route.rootDigest)
    if (route.root.offers.every(d => this.offers.has(hex(d))) || this.fetching.has(key)) return
    this.fetching.add(key)
    try {
      const have = route.root.offers.filter(d => this.offers.has(hex(d)))
      const listed = new Set(route.root.offers.map(hex))
      for (const bytes of await this.host.sync(link, route.rootDigest, have)) this.fetched(bytes, route, listed)
      route.ready = true
      this.changed()
    } catch {
      const again = () => { if (this.of(link).routes.get(route.origin) === route) void this.fetch(link, route, attempt + 1) }
      if (attempt < ATTEMPTS) setTimeout(again, Math.min(5000, 300 * 2 ** attempt)).unref()
    } finally { this.fetching.delete(key) }
  }
  private fetched(bytes: Buffer, route: Route, listed: Set<string>) {
    const digest = multihash(bytes), name = hex(digest)
    let offer: Msg.Offer
    try { offer = verifyOffer(bytes, fromHex(route.origin)) } catch { return }
    if (!listed.has(name)) return
    this.host.remember({ offer: hex(bytes) })
    this.offers.set(name, { bytes, digest, offer })
  }

  // ---- after a restart: what was known before, on links that are down ----
  restore(lines: CatalogLine[]) {
    for (const l of lines) if ('offer' in l) { const o = offerOf(fromHex(l.offer)); this.offers.set(hex(o.digest), o) }
    for (const l of lines) {
      const link = 'link' in l ? this.host.links.get(l.link) : undefined
      if (link && 'link' in l) this.restoreRoute(link, decode('OriginRoute', fromHex(l.route)))
    }
  }
  private restoreRoute(link: Link, route: Msg.OriginRoute) {
    const last = verifyChain(route.descriptors), chain = newer(this.chains.get(last.name), last)
    const { payload } = openEnvelope(route.root), root = decode('CatalogRoot', payload)
    this.chains.set(chain.name, chain)
    this.names.set(chain.grid, chain.name)
    if (root.version > (this.rootVersions.get(chain.name) ?? 0n)) this.rootVersions.set(chain.name, root.version)
    this.adopt(link, this.of(link), { route, chain, root, digest: multihash(payload) }, 1n, 'down')
  }
}
const newer = (known: Chain | undefined, chain: Chain) => known && known.length > chain.length ? known : chain
