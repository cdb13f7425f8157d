// Offers, roots, advertisements, tariffs, ways, search (RFC 0008).
import { applyTariff, ceilDiv, lowest, orderPrice } from './amounts.ts'
import { eq, hex, MAX64, multihash, need, now, placeAllowed, Refusal, refuse } from './core.ts'
import { checkContinues, verifyChain, verifyOffer, verifyRoot, type Chain } from './identity.ts'
import { openEnvelope, seal, TYPE } from './keys.ts'
import type { Link } from './link.ts'
import { KIND } from './log.ts'
import { decode, encode, uvarint } from './proto.ts'
import { fromHex } from './store.ts'

export interface Offer { bytes: Buffer; digest: Buffer; offer: any }
interface Route { origin: string; chain: Chain; root: any; rootBytes: Buffer; rootDigest: Buffer; path: Buffer[]; names: string[]; tariffSeq: number; epoch: bigint
  state: 'in' | 'down' | 'withdrawn'; ready: boolean; base?: Buffer }
interface LinkRoutes { routes: Map<string, Route>; firstRound: boolean; epoch: bigint; lastRound: string; tariffs: Map<string, { seq: number; t: any }>; opening: number; busy: boolean; again: boolean }
export interface Way { link: Link; route: Route; tariff: any; prices: any[] }
export interface Listing { ref: string; offer: Offer; own: boolean; reach: boolean; version: bigint; grid: string }
export interface CatalogHost {
  chain: Chain; signingKey: any; grid: string; place: string; relays: boolean; markup: { num: bigint; den: bigint; fee: bigint }
  links: Map<string, Link>
  asset: string; scale: number
  sync(link: Link, root: Buffer, have: Buffer[]): Promise<Buffer[]>
  pinned(grid: string): string | undefined        // fingerprint of the pinned grid of that name
  newChain(chain: Chain): void
  catalogChanged(): void
  remember(line: object): void
}
const HOUR = 3600000n

export class Catalog {
  own: Offer[] = []
  root!: { bytes: Buffer; digest: Buffer; root: any }
  private byLink = new Map<Link, LinkRoutes>()
  readonly chains = new Map<string, Chain>()       // newest seen of each origin
  private names = new Map<string, string>()        // grid name -> fingerprint first seen under it
  private rootVersions = new Map<string, bigint>()
  private offers = new Map<string, Offer>()        // of other grids, by digest
  private fetching = new Set<string>()
  private timer?: NodeJS.Timeout
  watchers = new Set<() => void>()
  constructor(readonly host: CatalogHost) {}

  setOwn(offers: any[]) {
    this.own = offers.map(o => { const bytes = encode('Offer', o); return { bytes, digest: multihash(bytes), offer: decode('Offer', bytes) } })
    this.makeRoot()
  }
  makeRoot() {
    const root = { origin: this.host.chain.fingerprint, version: now(), expires_at: now() + 24n * HOUR, offers: this.own.map(o => o.digest).sort(Buffer.compare) }
    const payload = encode('CatalogRoot', root)
    this.root = { bytes: seal(TYPE.root, payload, [this.host.signingKey]), digest: multihash(payload), root }
  }
  private of(link: Link): LinkRoutes {
    let r = this.byLink.get(link)
    if (!r) this.byLink.set(link, r = { routes: new Map(), firstRound: false, epoch: 0n, lastRound: '', tariffs: new Map(), opening: 0, busy: false, again: false })
    return r
  }
  private get self() { return this.host.chain.name }

  // ---- receiving ----
  // Advertisements are taken a few at a time, so that many of them hold nothing else up.
  private inbox = new Map<Link, any[]>()
  receive(link: Link, ads: any[]) {
    const waiting = this.inbox.get(link)
    if (waiting) { waiting.push(...ads); return }
    const list = [...ads]
    const work = () => {
      for (const ad of list.splice(0, 50)) this.advertised(link, ad)
      if (list.length && this.inbox.get(link) === list) setImmediate(work); else if (this.inbox.get(link) === list) this.inbox.delete(link)
    }
    this.inbox.set(link, list)
    work()
  }
  private advertised(link: Link, ad: any) {
    const state = this.of(link)
    if (ad.end === true) {
      let changed = false
      for (const r of state.routes.values()) if (r.epoch !== ad.epoch && r.state !== 'withdrawn') { r.state = 'withdrawn'; changed = true }
      state.firstRound = true
      if (changed) this.changed()
    } else if (ad.route) {
      const origin = ad.route.path.length ? hex(ad.route.path.at(-1)) : ''
      try { this.take(link, state, ad) } catch (e) {
        if (!(e instanceof Refusal)) throw e
        const old = state.routes.get(origin)
        if (old && old.state !== 'withdrawn') { old.state = 'withdrawn'; this.changed() }
      }
    }
  }
  private take(link: Link, state: LinkRoutes, ad: any) {
    const r = ad.route, path: Buffer[] = r.path
    need(path.length >= 1 && path.length <= 16 && eq(path[0], link.peer.fingerprint) && !path.some(p => eq(p, this.host.chain.fingerprint)), 'LOOP')
    const chain = verifyChain(r.descriptors), origin = chain.name
    need(eq(chain.fingerprint, path.at(-1)!), 'DESCRIPTOR_INVALID')
    need(this.nameFree(chain.grid, origin), 'DESCRIPTOR_INVALID')
    const known = this.chains.get(origin), newest = known && known.length > chain.length ? known : chain
    const { root, digest } = verifyRoot(r.root, newest, now())
    need(root.version >= (this.rootVersions.get(origin) ?? 0n), 'INVALID_ARGUMENT')
    const tariff = link.ledger.logs[1].tariffs.get(Number(r.tariff_seq))
    need(tariff && hex(tariff.origin) === origin, 'TARIFF_INVALID')
    if (known && chain.length >= known.length) checkContinues(known, chain)
    if (!state.routes.has(origin) && state.routes.size >= 4096) return
    if (newest !== known) { this.chains.set(origin, newest); this.host.newChain(newest) }
    this.names.set(chain.grid, origin)
    this.rootVersions.set(origin, root.version)
    this.host.remember({ link: link.name, route: hex(encode('OriginRoute', r)) })
    this.adopt(link, state, r, newest, root, digest, ad.epoch, ad.epoch === 0n ? 'withdrawn' : 'in')
    this.changed()
  }
  private adopt(link: Link, state: LinkRoutes, r: any, newest: Chain, root: any, digest: Buffer, epoch: bigint, as: Route['state']) {
    const origin = newest.name, path: Buffer[] = r.path
    const route: Route = { origin, chain: newest, root, rootBytes: r.root, rootDigest: digest, path, names: r.path_names.slice(0, path.length).map((n: string) => [...n].slice(0, 253).join('')), tariffSeq: Number(r.tariff_seq), epoch,
      state: as, ready: root.offers.every((d: Buffer) => this.offers.has(hex(d))) }
    state.routes.set(origin, route)
    if (as === 'in') void this.fetch(link, route)
  }
  // After a restart: what was known before, on links that are down.
  restore(lines: any[]) {
    for (const l of lines) if (l.offer) { const bytes = fromHex(l.offer), digest = multihash(bytes); this.offers.set(hex(digest), { bytes, digest, offer: decode('Offer', bytes) }) }
    for (const l of lines) {
      const link = this.host.links.get(l.link)
      if (!link) continue
      const r = decode('OriginRoute', fromHex(l.route)), chain = verifyChain(r.descriptors), known = this.chains.get(chain.name), newest = known && known.length > chain.length ? known : chain
      const { payload } = openEnvelope(r.root), root = decode('CatalogRoot', payload)
      this.chains.set(chain.name, newest); this.names.set(chain.grid, chain.name)
      if (root.version > (this.rootVersions.get(chain.name) ?? 0n)) this.rootVersions.set(chain.name, root.version)
      this.adopt(link, this.of(link), r, newest, root, multihash(payload), 1n, 'down')
    }
  }
  private nameFree(grid: string, origin: string) {
    if (grid === this.host.grid) return origin === this.self
    const pinned = this.host.pinned(grid)
    if (pinned) return pinned === origin
    return (this.names.get(grid) ?? origin) === origin
  }
  // A grid that is peered with bears its name from then on, whoever was heard of under it.
  claimName(grid: string, fingerprint: string) {
    const other = this.names.get(grid)
    this.names.set(grid, fingerprint)
    if (other && other !== fingerprint) for (const s of this.byLink.values()) s.routes.delete(other)
  }
  private async fetch(link: Link, route: Route, attempt = 0) {
    const missing = () => route.root.offers.filter((d: Buffer) => !this.offers.has(hex(d)))
    const key = link.name + hex(route.rootDigest)
    if (!missing().length || this.fetching.has(key)) return
    this.fetching.add(key)
    try {
      const have = route.root.offers.filter((d: Buffer) => this.offers.has(hex(d)))
      const got = await this.host.sync(link, route.rootDigest, have)
      const listed = new Set(route.root.offers.map(hex))
      for (const bytes of got) {
        const digest = multihash(bytes)
        let offer: any
        try { offer = verifyOffer(bytes, Buffer.from(route.origin, 'hex')) } catch { continue }
        if (!listed.has(hex(digest))) continue
        this.host.remember({ offer: hex(bytes) })
        this.offers.set(hex(digest), { bytes, digest, offer })
      }
      route.ready = true
      this.changed()
    } catch { if (attempt < 20) setTimeout(() => { if (this.of(link).routes.get(route.origin) === route) void this.fetch(link, route, attempt + 1) }, Math.min(5000, 300 * 2 ** attempt)).unref() }
    finally { this.fetching.delete(key) }
  }

  // ---- links ----
  opened(link: Link) {
    const s = this.of(link)
    s.firstRound = false; s.epoch = 0n; s.lastRound = ''; s.opening++; s.busy = false
    void this.round(link)
    this.changed()
  }
  lost(link: Link) {
    const waiting = this.inbox.get(link)
    if (waiting) { waiting.length = 0; this.inbox.delete(link) }
    for (const r of this.of(link).routes.values()) if (r.state === 'in') r.state = 'down'
    this.changed()
  }
  private again = false
  private pause = 200
  private changed() {
    if (this.timer) this.again = true
    this.host.catalogChanged()
    for (const w of this.watchers) w()
    this.timer ??= setTimeout(async () => {
      const began = process.cpuUsage().user
      for (const l of [...this.host.links.values()]) if (l.writable) { await this.round(l); await new Promise(r => setImmediate(r)) }   // one link a turn
      this.pause = Math.min(2000, Math.max(200, (process.cpuUsage().user - began) / 1000 * 3))     // rounds that cost much are made less often
      this.timer = undefined
      if (this.again) { this.again = false; this.changed() }
    }, this.pause)
  }
  tick() {
    if (this.root.root.expires_at - now() < 12n * HOUR) this.makeRoot()
    for (const l of this.host.links.values()) if (l.writable) void this.round(l)
  }

  // ---- advertising ----
  private tariff(link: Link, origin: string, t: { markup_num: bigint; markup_den: bigint; fee: bigint }, until: bigint): number {
    const s = this.of(link), old = s.tariffs.get(origin)
    const same = old && old.t.markup_num === t.markup_num && old.t.markup_den === t.markup_den && old.t.fee === t.fee
    if (same && old.t.expires_at > now() && until - old.t.expires_at < HOUR / 2n) return old.seq
    const value = { origin: Buffer.from(origin, 'hex'), ...t, expires_at: until, catalog: origin === this.self ? this.root.digest : Buffer.alloc(0) }
    const seq = link.append(KIND.TARIFF, 'tariff', value).seq
    s.tariffs.set(origin, { seq, t: value })
    return seq
  }
  private resold(link: Link): { route: Route; terms: any; until: bigint }[] {
    if (!this.host.relays) return []
    const best = new Map<string, { link: Link; route: Route; terms: any; until: bigint }>()
    for (const [l, s] of this.byLink) {
      if (l === link || !l.writable || l.suspended || l.agreement.asset !== link.agreement.asset || l.agreement.scale !== link.agreement.scale) continue
      for (const r of s.routes.values()) {
        if (r.state !== 'in' || !r.ready || r.path.length >= 16 || r.path.some(p => eq(p, link.peer.fingerprint)) || r.root.expires_at <= now()) continue
        const d = l.ledger.logs[1].tariffs.get(r.tariffSeq)
        if (!d || d.expires_at <= now()) continue
        const m = this.host.markup, { num, den } = lowest(d.markup_num * m.num, d.markup_den * m.den), fee = ceilDiv(d.fee * m.num, m.den) + m.fee
        if (num > MAX64 || den > MAX64 || fee > MAX64) continue
        const before = best.get(r.origin)
        if (before && (before.route.path.length - r.path.length || (before.link.name < l.name ? -1 : 1)) < 0) continue
        const hour = now() + HOUR
        best.set(r.origin, { link: l, route: r, terms: { markup_num: num, markup_den: den, fee }, until: d.expires_at < hour ? d.expires_at : hour })
      }
    }
    return [...best.values()]
  }
  // A hundred tariffs a turn, so that nothing else waits for a long round.
  private async round(link: Link) {
    const s = this.of(link), opening = s.opening
    if (s.busy) { s.again = true; return }
    s.busy = true
    const me = this.host.chain.fingerprint, limit = link.peerLimits.frame_bytes - 1024
    const own = { descriptors: this.host.chain.envelopes, root: this.root.bytes, path: [me], path_names: [this.host.grid] }
    const list: { base: Buffer; seq: number; print: string }[] = [{ base: encode('OriginRoute', own), seq: this.tariff(link, this.self, { markup_num: 1n, markup_den: 1n, fee: 0n }, now() + HOUR), print: hex(this.root.digest) }]
    for (const { route: r, terms, until } of this.resold(link)) {
      if (until <= now() + 1000n) continue
      // What is the same for every neighbour is encoded once; tariff_seq follows it.
      r.base ??= encode('OriginRoute', { descriptors: r.chain.envelopes, root: r.rootBytes, path: [me, ...r.path], path_names: [this.host.grid, ...r.names] })
      if (link.pendingEntries >= 100) {
        link.flush()
        await new Promise(r => setImmediate(r))
        if (s.opening !== opening || !link.writable) { if (s.opening === opening) s.busy = false; return }
      }
      if (r.base.length + 11 <= limit) list.push({ base: r.base, seq: this.tariff(link, r.origin, terms, until), print: `${r.origin} ${hex(r.rootDigest)} ${r.path.length}` })
    }
    s.busy = false
    if (s.again) { s.again = false; this.changed() }
    const print = list.map(r => `${r.print} ${r.base.length} ${r.seq}`).join()
    if (print === s.lastRound) return
    s.lastRound = print
    s.epoch++
    link.advertise([...list.map(r => {
      const route = Buffer.concat([r.base, encode('OriginRoute', { tariff_seq: BigInt(r.seq) })])
      return Buffer.concat([encode('Advertisement', { epoch: s.epoch }), Buffer.from([0x12]), uvarint(route.length), route])
    }), encode('Advertisement', { epoch: s.epoch, end: true })])
    link.flush()
  }
  restoreTariffs(link: Link) { for (const [seq, t] of link.ledger.logs[0].tariffs) this.of(link).tariffs.set(hex(t.origin), { seq, t }) }
  newestTariff(link: Link, origin: Buffer): number { return this.of(link).tariffs.get(hex(origin))?.seq ?? 0 }
  ownTariff(link: Link, seq: number) { return link.ledger.logs[0].tariffs.get(seq) }

  // ---- ways ----
  isOwn(digest: Buffer) { return this.own.find(o => eq(o.digest, digest)) }
  byDigest(digest: Buffer): Offer | undefined {
    const o = this.isOwn(digest) ?? this.offers.get(hex(digest))
    return o && (this.isOwn(digest) || this.known(o)) ? o : undefined
  }
  // Known is what a route lists that is not withdrawn, or whose root and tariff have not expired.
  private known(o: Offer): boolean {
    const origin = hex(o.offer.origin)
    for (const [l, s] of this.byLink) if (this.lists(l, s.routes.get(origin), o.digest)) return true
    return false
  }
  private lists(link: Link, r: Route | undefined, digest: Buffer): boolean {
    return !!r && r.root.offers.some((d: Buffer) => eq(d, digest)) && (r.state === 'in' || r.root.expires_at > now() && (link.ledger.logs[1].tariffs.get(r.tariffSeq)?.expires_at ?? 0n) > now())
  }
  ways(o: Offer, c: { asset: string; scale: number; except?: Link; all?: boolean }): Way[] {
    const out: Way[] = []
    let knownRoute = false, unpriced = 0, missed = 0
    for (const [link, s] of this.byLink) {
      const r = s.routes.get(hex(o.offer.origin))
      if (!r || !r.root.offers.some((d: Buffer) => eq(d, o.digest)) || link === c.except || link.agreement.asset !== c.asset || link.agreement.scale !== c.scale) continue
      if (r.state === 'in' || r.state === 'down' && !link.writable) knownRoute = true
      if (r.state === 'withdrawn' || r.state === 'down' && (s.firstRound || !link.writable)) continue
      if (!link.writable || link.suspended || r.root.expires_at <= now()) { missed++; continue }
      const tariff = link.ledger.logs[1].tariffs.get(r.tariffSeq)
      if (!tariff || tariff.expires_at <= now()) { missed++; continue }
      try {
        const prices = applyTariff(o.offer.prices, tariff)
        if (prices.length > 16) throw new Error('lines')
        out.push({ link, route: r, tariff, prices })
      } catch { unpriced++ }
    }
    out.sort((a, b) => a.route.path.length - b.route.path.length || (a.link.name < b.link.name ? -1 : 1))
    if (!out.length && !c.all) {
      const grid = this.chains.get(hex(o.offer.origin))?.grid ?? ''
      if (unpriced && !missed) refuse('AMOUNT_OVERFLOW', 'The price of the offer cannot be stated.', { field: 'prices' })
      if (knownRoute) refuse('PEER_UNAVAILABLE', 'The link to the next grid is down.', { grid })
      refuse('NO_ROUTE', 'No link leads to the origin of the offer.', { offer: o.offer.name, origin: grid })
    }
    return out
  }
  executorOf(digest: Buffer, named?: Buffer): Chain | undefined {
    const o = this.offers.get(hex(digest)), fp = o ? hex(o.offer.origin) : named && hex(named)
    return fp ? fp === this.self ? this.host.chain : this.chains.get(fp) : undefined
  }

  // ---- references, search ----
  listings(): Map<string, Listing> {
    const out = new Map<string, Listing>()
    const add = (x: Listing) => {
      const b = out.get(x.ref), rank = (l: Listing) => l.own ? 2 : l.reach ? 1 : 0
      if (!b || rank(x) > rank(b) || rank(x) === rank(b) && x.version > b.version) out.set(x.ref, x)
    }
    for (const [link, s] of this.byLink) for (const r of s.routes.values()) for (const d of r.root.offers) {
      const o = this.offers.get(hex(d))
      if (!o || hex(o.offer.origin) !== r.origin || r.state !== 'in' && !this.lists(link, r, d)) continue
      add({ ref: `${r.chain.grid}/${o.offer.name}`, offer: o, own: false, reach: r.state === 'in', version: r.root.version, grid: r.chain.grid })
    }
    for (const o of this.own) add({ ref: `${this.host.grid}/${o.offer.name}`, offer: o, own: true, reach: true, version: 0n, grid: this.host.grid })
    return out
  }
  resolve(ref: string): Listing {
    const cut = ref.indexOf('/'), grid = cut > 0 ? ref.slice(0, cut) : '', name = ref.slice(cut + 1)
    let best: Listing | undefined
    const own = (n: string) => { const o = this.own.find(o => o.offer.name === n); return o && { ref: `${this.host.grid}/${n}`, offer: o, own: true, reach: true, version: 0n, grid: this.host.grid } }
    if (grid === this.host.grid) best = own(name)
    const origin = this.names.get(grid)
    if (origin && !best) for (const [link, s] of this.byLink) {
      const r = s.routes.get(origin)
      if (!r || r.chain.grid !== grid) continue
      for (const d of r.root.offers) {
        const o = this.offers.get(hex(d))
        if (!o || o.offer.name !== name || hex(o.offer.origin) !== origin || r.state !== 'in' && !this.lists(link, r, d)) continue
        const l = { ref, offer: o, own: false, reach: r.state === 'in', version: r.root.version, grid }
        if (!best || +l.reach > +best.reach || l.reach === best.reach && l.version > best.version) best = l
      }
    }
    return best ?? own(ref) ?? refuse('OFFER_UNKNOWN', 'No such offer is known here.', { offer: ref })
  }
  show(l: Listing): any {
    const o = l.offer
    let path = [this.host.grid], prices: any[] = l.own ? o.offer.prices : []
    if (!l.own) {
      const way = this.ways(o, { asset: this.host.asset, scale: this.host.scale, all: true })[0]
      const r = way?.route ?? [...this.byLink.values()].map(s => s.routes.get(hex(o.offer.origin))).find(r => r && r.state === 'in')
      prices = way?.prices ?? []
      path = [this.host.grid, ...this.pathNames(r)]
    }
    return { ref: l.ref, origin: l.grid, digest: o.digest, offer: o.offer, prices, path, origin_fingerprint: o.offer.origin }
  }
  pathNames(r?: Route): string[] { return r?.names ?? [] }
  get(ref: string): any {
    const l = this.resolve(ref)
    if (!l.reach) { this.ways(l.offer, { asset: this.host.asset, scale: this.host.scale }) }
    return this.show(l)
  }
  search(q: any): any[] {
    const words = q.text.toLowerCase().split(/\s+/).filter(Boolean)
    const hits: { l: any; rank: number }[] = []
    for (const x of this.listings().values()) {
      if (!x.reach) continue
      const o = x.offer.offer, l = this.show(x)
      if (q.kind && o.kind !== q.kind || q.unit && !o.prices.some((p: any) => p.unit === q.unit) || q.origin && x.grid !== q.origin) continue
      if (!placeAllowed(q.policy?.places ?? [], o.place || (x.own ? this.host.place : ''))) continue
      if (q.max_price > 0n && !(l.prices.length && l.prices.reduce((s: bigint, p: any) => s + ceilDiv(p.num, p.den), 0n) <= q.max_price)) continue
      const fields: [string, number][] = [[o.name.toLowerCase(), 8], [o.tags.join(' ').toLowerCase(), 4], [o.description.toLowerCase(), 2], [x.grid.toLowerCase(), 1]]
      let rank = 0, all = true
      for (const w of words) { const n = fields.reduce((s, [f, k]) => s + (f.includes(w) ? k : 0), 0); if (!n) all = false; rank += n }
      if (all) hits.push({ l, rank })
    }
    return hits.sort((a, b) => b.rank - a.rank || Buffer.compare(Buffer.from(a.l.ref), Buffer.from(b.l.ref))).map(h => h.l)
  }
  // ---- serving ----
  offersOf(root: Buffer): Offer[] {
    if (!eq(root, this.root.digest)) for (const s of this.byLink.values()) for (const r of s.routes.values())
      if (eq(r.rootDigest, root)) return r.root.offers.map((d: Buffer) => this.offers.get(hex(d))).filter(Boolean)
    return this.own
  }
  static orderPrice = orderPrice
}
