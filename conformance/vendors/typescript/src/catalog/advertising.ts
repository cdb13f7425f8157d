// What this grid tells its neighbours: rounds of routes, its own and those that it resells, each with a tariff (RFC 0008, RFC 0011).
import { ceilDiv, lowest, type Tariff } from '../amounts.ts'
import { eq, hex, MAX64, min, nothing, now } from '../core.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { encode, uvarint } from '../proto.ts'
import { HOUR, type OwnHost, type OwnOffers } from './offers.ts'
import type { Route, Routes } from './routes.ts'

const TARIFFS_A_TURN = 100, HOPS = 16
const OWN_TERMS: Tariff = { markup_num: 1n, markup_den: 1n, fee: 0n }

// What one link was told: the newest tariff of each origin, and the last round.
interface Told {
  tariffs: Map<string, { seq: number; t: Omit<Msg.Tariff, 'catalog'> }>
  epoch: bigint; lastRound: string; opening: number; busy: boolean; again: boolean
}
interface Resold { link: Link; route: Route; terms: Tariff; until: bigint }
interface Line { base: Buffer; seq: number; print: string }
export interface AdvertisingHost extends OwnHost {
  grid: string; relays: boolean; markup: { num: bigint; den: bigint; fee: bigint }; links: Map<string, Link>
}

export class Advertising {
  private readonly byLink = new Map<Link, Told>()
  constructor(
    private readonly host: AdvertisingHost, private readonly own: OwnOffers, private readonly routes: Routes,
    private readonly changed: () => void,
  ) {}
  private of(link: Link): Told {
    let told = this.byLink.get(link)
    if (!told) this.byLink.set(link, told = { tariffs: new Map(), epoch: 0n, lastRound: '', opening: 0, busy: false, again: false })
    return told
  }

  // ---- tariffs ----
  restoreTariffs(link: Link) { for (const [seq, t] of link.ledger.logs[0].tariffs) this.of(link).tariffs.set(hex(t.origin), { seq, t }) }
  newestTariff(link: Link, origin: Buffer): number { return this.of(link).tariffs.get(hex(origin))?.seq ?? 0 }
  ownTariff(link: Link, seq: number): Msg.Tariff | undefined { return link.ledger.logs[0].tariffs.get(seq) }
  // The seq of a tariff with these terms: the newest one, or one that is written now.
  private tariff(link: Link, origin: string, terms: Tariff, until: bigint): number {
    const told = this.of(link), old = told.tariffs.get(origin)
    if (old && sameTerms(old.t, terms) && old.t.expires_at > now() && until - old.t.expires_at < HOUR / 2n) return old.seq
    const t = { origin: Buffer.from(origin, 'hex'), ...terms, expires_at: until }
    const { seq } = link.append({ tariff: { ...t, catalog: origin === this.host.chain.name ? this.own.root.digest : nothing } })
    told.tariffs.set(origin, { seq, t })
    return seq
  }

  // ---- reselling ----
  // The best route to each origin that this link may be told of.
  private resold(to: Link): Resold[] {
    if (!this.host.relays) return []
    const best = new Map<string, Resold>()
    for (const [link, route] of this.routes.all()) {
      if (!sells(link, to) || !leadsOn(route, to)) continue
      const offered = this.priced(link, route), before = best.get(route.origin)
      if (offered && !(before && isBetter(before, offered))) best.set(route.origin, offered)
    }
    return [...best.values()]
  }
  private priced(link: Link, route: Route): Resold | undefined {
    const d = link.ledger.logs[1].tariffs.get(route.tariffSeq), m = this.host.markup
    if (!d || d.expires_at <= now()) return undefined
    const { num, den } = lowest(d.markup_num * m.num, d.markup_den * m.den), fee = ceilDiv(d.fee * m.num, m.den) + m.fee
    if (num > MAX64 || den > MAX64 || fee > MAX64) return undefined
    return { link, route, terms: { markup_num: num, markup_den: den, fee }, until: min(d.expires_at, now() + HOUR) }
  }

  // ---- rounds ----
  opened(link: Link) {
    const told = this.of(link)
    told.epoch = 0n
    told.lastRound = ''
    told.opening++
    told.busy = false
    void this.round(link)
  }
  // One link a turn.
  async roundForAll() {
    for (const l of [...this.host.links.values()]) if (l.writable) { await this.round(l); await nextTurn() }
  }
  // A hundred tariffs a turn, so that nothing else waits for a long round.
  async round(link: Link) {
    const told = this.of(link), { opening } = told
    if (told.busy) { told.again = true; return }
    told.busy = true
    const list = [this.ownRoute(link)], limit = link.peerLimits.frame_bytes - 1024
    for (const r of this.resold(link)) {
      if (r.until <= now() + 1000n) continue
      const base = this.baseOf(r.route)
      if (link.pendingEntries >= TARIFFS_A_TURN) {
        link.flush()
        await nextTurn()
        if (told.opening !== opening) return
        if (!link.writable) { told.busy = false; return }
      }
      if (base.length + 11 <= limit) list.push(this.resoldRoute(link, r, base))
    }
    told.busy = false
    if (told.again) { told.again = false; this.changed() }
    this.tell(link, told, list)
  }
  private ownRoute(link: Link): Line {
    const { chain, grid } = this.host, { root } = this.own
    const base = encode('OriginRoute', { descriptors: chain.envelopes, root: root.bytes, path: [chain.fingerprint], path_names: [grid] })
    return { base, seq: this.tariff(link, chain.name, OWN_TERMS, now() + HOUR), print: hex(root.digest) }
  }
  private resoldRoute(link: Link, { route, terms, until }: Resold, base: Buffer): Line {
    const print = `${route.origin} ${hex(route.rootDigest)} ${route.path.length}`
    return { base, seq: this.tariff(link, route.origin, terms, until), print }
  }
  // What is the same for every neighbour is encoded once; tariff_seq follows it.
  private baseOf(r: Route): Buffer {
    const { chain, grid } = this.host
    return r.base ??= encode('OriginRoute', { descriptors: r.chain.envelopes, root: r.rootBytes, path: [chain.fingerprint, ...r.path],
      path_names: [grid, ...r.names] })
  }
  private tell(link: Link, told: Told, list: Line[]) {
    const print = list.map(r => `${r.print} ${r.base.length} ${r.seq}`).join()
    if (print === told.lastRound) return
    told.lastRound = print
    told.epoch++
    const { epoch } = told
    link.advertise([...list.map(r => advertisement(r, epoch)), encode('Advertisement', { epoch, end: true })])
    link.flush()
  }
}
const ROUTE_TAG = Buffer.from([0x12])
function advertisement({ base, seq }: Line, epoch: bigint): Buffer {
  const route = Buffer.concat([base, encode('OriginRoute', { tariff_seq: BigInt(seq) })])
  return Buffer.concat([encode('Advertisement', { epoch }), ROUTE_TAG, uvarint(route.length), route])
}
const nextTurn = () => new Promise(r => setImmediate(r))
const sameTerms = (a: Tariff, b: Tariff) => a.markup_num === b.markup_num && a.markup_den === b.markup_den && a.fee === b.fee
const sells = (from: Link, to: Link) => from !== to && from.writable && !from.suspended &&
  from.agreement.asset === to.agreement.asset && from.agreement.scale === to.agreement.scale
const leadsOn = (r: Route, to: Link) => r.state === 'in' && r.ready && r.path.length < HOPS &&
  !r.path.some(p => eq(p, to.peer.fingerprint)) && r.root.expires_at > now()
const isBetter = (a: Resold, b: Resold) => (a.route.path.length - b.route.path.length || (a.link.name < b.link.name ? -1 : 1)) < 0
