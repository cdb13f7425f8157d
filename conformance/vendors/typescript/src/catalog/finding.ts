// Finding offers: ways to their origins, references, listings and search (RFC 0008).
import { applyTariff, ceilDiv } from '../amounts.ts'
import { byBytes, eq, hex, now, placeAllowed, refuse } from '../core.ts'
import type { Chain } from '../identity.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import type { Offer, OwnOffers } from './offers.ts'
import type { Heard, Route, Routes } from './routes.ts'

const LINES = 16

export interface Way { link: Link; route: Route; tariff: Msg.Tariff; prices: Msg.PriceLine[] }
export interface Listing { ref: string; offer: Offer; own: boolean; reach: boolean; version: bigint; grid: string }
export interface FindingHost { chain: Chain; grid: string; place: string; asset: string; scale: number }
export interface Wanted { asset: string; scale: number; except?: Link }

export class Finding {
  constructor(private readonly host: FindingHost, private readonly own: OwnOffers, private readonly routes: Routes) {}

  // ---- by digest ----
  isOwn(digest: Buffer): Offer | undefined { return this.own.list.find(o => eq(o.digest, digest)) }
  byDigest(digest: Buffer): Offer | undefined {
    const o = this.isOwn(digest) ?? this.routes.offers.get(hex(digest))
    return o && (this.isOwn(digest) || this.known(o)) ? o : undefined
  }
  // Known is what a route lists that is not withdrawn, or whose root and tariff have not expired.
  private known(o: Offer): boolean {
    const origin = hex(o.offer.origin)
    for (const [link, heard] of this.routes.byLink) {
      const r = heard.routes.get(origin)
      if (r && lists(r, o.digest) && isLive(link, r)) return true
    }
    return false
  }
  executorOf(digest: Buffer, named?: Buffer): Chain | undefined {
    const o = this.routes.offers.get(hex(digest)), fingerprint = o?.offer.origin ?? named, name = fingerprint ? hex(fingerprint) : ''
    return name === this.host.chain.name ? this.host.chain : this.routes.chains.get(name)
  }

  // ---- ways ----
  // The best first; refused where there is none.
  ways(o: Offer, wanted: Wanted): [Way, ...Way[]] {
    const [best, ...others] = this.waysTo(o, wanted)
    return best ? [best, ...others] : this.noWay(o, wanted)
  }
  private waysTo(o: Offer, wanted: Wanted): Way[] {
    const found = this.candidates(o, wanted).map(([link, heard, r]) => wayOver(link, heard, r, o))
    const ways = found.filter(w => typeof w !== 'string')
    return ways.sort((a, b) => a.route.path.length - b.route.path.length || (a.link.name < b.link.name ? -1 : 1))
  }
  private candidates(o: Offer, { asset, scale, except }: Wanted): [Link, Heard, Route][] {
    const out: [Link, Heard, Route][] = [], origin = hex(o.offer.origin)
    for (const [link, heard] of this.routes.byLink) {
      const r = heard.routes.get(origin), { agreement } = link
      if (link === except || agreement.asset !== asset || agreement.scale !== scale) continue
      if (r && lists(r, o.digest)) out.push([link, heard, r])
    }
    return out
  }
  private noWay(o: Offer, wanted: Wanted): never {
    const candidates = this.candidates(o, wanted), why = candidates.map(([link, heard, r]) => wayOver(link, heard, r, o))
    const grid = this.routes.chains.get(hex(o.offer.origin))?.grid ?? ''
    if (why.includes('unpriced') && !why.includes('missed'))
      refuse('AMOUNT_OVERFLOW', 'The price of the offer cannot be stated.', { field: 'prices' })
    if (candidates.some(([link, , r]) => r.state === 'in' || r.state === 'down' && !link.writable))
      refuse('PEER_UNAVAILABLE', 'The link to the next grid is down.', { grid })
    return refuse('NO_ROUTE', 'No link leads to the origin of the offer.', { offer: o.offer.name, origin: grid })
  }

  // ---- references ----
  listings(): Map<string, Listing> {
    const out = new Map<string, Listing>()
    const rank = (l: Listing) => l.own ? 2 : l.reach ? 1 : 0
    const add = (x: Listing) => {
      const b = out.get(x.ref)
      if (!b || rank(x) > rank(b) || rank(x) === rank(b) && x.version > b.version) out.set(x.ref, x)
    }
    for (const [link, r] of this.routes.all()) for (const l of this.listed(link, r)) add(l)
    for (const o of this.own.list) add(this.ownListing(o))
    return out
  }
  // The offers of one route, or the one of a name.
  private *listed(link: Link, r: Route, name?: string): Generator<Listing> {
    if (!isLive(link, r)) return
    for (const d of r.root.offers) {
      const offer = this.routes.offers.get(hex(d)), { grid } = r.chain
      if (!offer || hex(offer.offer.origin) !== r.origin || name !== undefined && offer.offer.name !== name) continue
      yield { ref: `${grid}/${offer.offer.name}`, offer, own: false, reach: r.state === 'in', version: r.root.version, grid }
    }
  }
  private ownListing(offer: Offer): Listing {
    const { grid } = this.host
    return { ref: `${grid}/${offer.offer.name}`, offer, own: true, reach: true, version: 0n, grid }
  }
  private ownByName(name: string): Listing | undefined {
    const o = this.own.list.find(o => o.offer.name === name)
    return o && this.ownListing(o)
  }
  resolve(ref: string): Listing {
    const cut = ref.indexOf('/'), grid = cut > 0 ? ref.slice(0, cut) : '', name = ref.slice(cut + 1)
    return (grid === this.host.grid ? this.ownByName(name) : undefined) ?? this.ofOther(grid, name) ?? this.ownByName(ref) ??
      refuse('OFFER_UNKNOWN', 'No such offer is known here.', { offer: ref })
  }
  private ofOther(grid: string, name: string): Listing | undefined {
    const origin = this.routes.names.get(grid)
    let best: Listing | undefined
    if (origin) for (const [link, heard] of this.routes.byLink) {
      const r = heard.routes.get(origin)
      if (!r || r.chain.grid !== grid) continue
      for (const l of this.listed(link, r, name)) if (!best || isBetter(l, best)) best = l
    }
    return best
  }
  get(ref: string): Msg.ListedOffer {
    const l = this.resolve(ref)
    if (!l.reach) this.ways(l.offer, this.host)
    return this.show(l)
  }
  show(l: Listing): Msg.ListedOffer {
    const { grid } = this.host, { digest, offer } = l.offer
    const about = { ref: l.ref, origin: l.grid, digest, offer, origin_fingerprint: offer.origin }
    if (l.own) return { ...about, prices: offer.prices, path: [grid] }
    const way = this.waysTo(l.offer, this.host).at(0), route = way?.route ?? this.routeTo(hex(offer.origin))
    return { ...about, prices: way?.prices ?? [], path: [grid, ...route?.names ?? []] }
  }
  private routeTo(origin: string): Route | undefined {
    for (const heard of this.routes.byLink.values()) {
      const r = heard.routes.get(origin)
      if (r?.state === 'in') return r
    }
    return undefined
  }

  // ---- search ----
  search(q: Msg.SearchRequest): Msg.ListedOffer[] {
    const words = q.text.toLowerCase().split(/\s+/).filter(Boolean), hits: { shown: Msg.ListedOffer; rank: number }[] = []
    for (const l of this.listings().values()) {
      if (!l.reach) continue
      const rank = rankOf(l, words), shown = this.show(l)
      if (rank !== null && this.fits(q, l, shown)) hits.push({ shown, rank })
    }
    return hits.sort((a, b) => b.rank - a.rank || byBytes(a.shown.ref, b.shown.ref)).map(h => h.shown)
  }
  private fits(q: Msg.SearchRequest, l: Listing, { prices }: Msg.ListedOffer): boolean {
    const { offer: o } = l.offer
    if (q.kind && o.kind !== q.kind || q.unit && !o.prices.some(p => p.unit === q.unit) || q.origin && l.grid !== q.origin) return false
    if (!placeAllowed(q.policy?.places ?? [], o.place || (l.own ? this.host.place : ''))) return false
    return q.max_price <= 0n || prices.length > 0 && prices.reduce((s, p) => s + ceilDiv(p.num, p.den), 0n) <= q.max_price
  }
}
// How well an offer answers the words; null where one of them is nowhere in it.
function rankOf(l: Listing, words: string[]): number | null {
  const { name, tags, description } = l.offer.offer
  const fields = [[name, 8], [tags.join(' '), 4], [description, 2], [l.grid, 1]] as const
  const points = words.map(w => fields.reduce((s, [text, k]) => s + (text.toLowerCase().includes(w) ? k : 0), 0))
  return points.every(n => n > 0) ? points.reduce((s, n) => s + n, 0) : null
}
const lists = (r: Route, digest: Buffer) => r.root.offers.some(d => eq(d, digest))
const isLive = (link: Link, r: Route) =>
  r.state === 'in' || r.root.expires_at > now() && (link.ledger.logs[1].tariffs.get(r.tariffSeq)?.expires_at ?? 0n) > now()
const isBetter = (a: Listing, b: Listing) => +a.reach > +b.reach || a.reach === b.reach && a.version > b.version
// The way over one link, or why it is none.
function wayOver(link: Link, heard: Heard, r: Route, o: Offer): Way | 'gone' | 'missed' | 'unpriced' {
  if (r.state === 'withdrawn' || r.state === 'down' && (heard.firstRound || !link.writable)) return 'gone'
  const tariff = link.ledger.logs[1].tariffs.get(r.tariffSeq)
  if (!link.writable || link.suspended || r.root.expires_at <= now() || !tariff || tariff.expires_at <= now()) return 'missed'
  try {
    const prices = applyTariff(o.offer.prices, tariff)
    return prices.length <= LINES ? { link, route: r, tariff, prices } : 'unpriced'
  } catch { return 'unpriced' }
}
