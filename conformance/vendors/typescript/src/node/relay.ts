// Relaying: the order that this grid places downstream for an order of a peer (RFC 0011).
import { createCipheriv, createHmac } from 'node:crypto'
import { applyTariff, down, rate, type Rate, type Tariff } from '../amounts.ts'
import type { Catalog, Offer, Way } from '../catalog.ts'
import { hopId, max, min, need, now, placeAllowed, refuse } from '../core.ts'
import type { Link } from '../link.ts'
import { lastGrant } from '../log.ts'
import { Order, Placed, type Finder } from '../orders.ts'
import { checkLane, checkOrder, textsFit } from '../placing.ts'
import type { Book } from './book.ts'

export interface RelayHost extends Finder {
  grid: string; secret: Buffer; outage: bigint           // outage: how long one is tolerated, in milliseconds
  catalog: Catalog; links: Map<string, Link>
  book(link: Link): Book
  placeOrder(p: Placed): void
}

export class Relay {
  constructor(private readonly host: RelayHost) {}

  // The checks in the order of section 3.1.
  place(o: Order, offer: Offer) {
    const { host } = this, { order, link: up } = o
    const places: string[] = order.policy?.places ?? [], path: string[] = [...order.path, host.grid]
    need(order.hop_limit >= 1, 'HOP_LIMIT', 'The order may take no further hop.', { hop_limit: order.hop_limit })
    need(placeAllowed(places, offer.offer.place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place: offer.offer.place })
    const way = host.catalog.ways(offer, { asset: up.agreement.asset, scale: up.agreement.scale, except: up })[0], link = way.link
    const r = this.rateOf(o, offer, way), deadline = this.deadline(o, link)
    need(o.input.length <= link.peerLimits.inline_bytes, 'INPUT_TOO_LARGE', 'The input is larger than the next grid takes.', { size: o.input.length })
    textsFit(path, order.actors, places, [order.session, order.group, order.input.media_type])
    const max_charge = down(order.max_charge, r), grant = offer.offer.charge_on === 2 ? max_charge : min(down(order.grant, r), max_charge)
    checkLane(link, max_charge, grant)
    this.checkShare(up, link, max_charge, grant)
    const placed = { id: hopId(o.hold.at, host.secret, up.ledger.head(1, o.seq), 0), offer_digest: order.offer_digest, tariff_seq: BigInt(way.route.tariffSeq),
      input: { ...order.input, encoding: '' }, prices: applyTariff(offer.offer.prices, way.tariff), max_charge, grant, deadline, hop_limit: order.hop_limit - 1, path,
      actors: order.actors, policy: order.policy, nonce: order.nonce, session: order.session, group: order.group, account: this.sealed(up, o.seq) }
    checkOrder(link, placed)
    o.rate = r
    o.state = 'running'
    const p = new Placed(host, link, placed, o.input, o, false)
    o.sink = p
    host.placeOrder(p)
  }
  private rateOf(o: Order, offer: Offer, way: Way): Rate {
    const { catalog } = this.host, tariff = catalog.ownTariff(o.link, Number(o.order.tariff_seq))
    const newest = { tariff_seq: catalog.newestTariff(o.link, offer.offer.origin) }
    need(tariff, 'PRICE_CHANGED', 'The tariff is not known any longer.', newest)
    try { return rateBetween(tariff, way.tariff, o) } catch (e: any) { return refuse('PRICE_CHANGED', e.message, newest) }
  }
  private deadline(o: Order, link: Link): bigint {
    const skew = max(o.link.agreement.max_skew_ms, link.agreement.max_skew_ms), margin = this.host.outage + 2n * skew
    const deadline = min(o.order.deadline, o.hold.claimUntil - link.agreement.claim_window_ms - margin)
    need(deadline > now(), 'DEADLINE_EXCEEDED', 'No time is left for the next grid.', { deadline })
    return deadline
  }
  // Section 3.10: one upstream uses no more than half of each limit once all together use more than that.
  private checkShare(up: Link, link: Link, maximum: bigint, grant: bigint) {
    if ([...this.host.links.values()].filter(l => l !== link && !l.suspended).length < 2) return
    const t = link.ownTerms, l = link.ledger, holds = Math.min(link.agreement.max_open_holds, link.peerLimits.orders)
    const half = [t.credit_limit / 2n, t.max_unagreed / 2n, BigInt(Math.floor(holds / 2))]
    const all = [l.gross(0) + maximum, l.unagreed(0) + grant, BigInt(l.lanes[0].open) + 1n]
    if (all.every((x, i) => x <= half[i])) return
    const used = this.usedBy(up, link), use = [used[0] + maximum, used[1] + grant, used[2] + 1n]
    need(use.every((x, i) => x <= half[i]), 'SHARE_EXCEEDED', 'This upstream uses its share of a limit further down.')
  }
  // Of a link: value, unagreed value and open orders that one upstream takes up.
  private usedBy(up: Link, link: Link): [bigint, bigint, bigint] {
    const use: [bigint, bigint, bigint] = [0n, 0n, 0n]
    for (const { placer, hold: h } of this.host.book(link).placed.values()) {
      if (!(placer instanceof Order) || placer.link !== up) continue
      const claimed = h.claims.at(-1)?.amount ?? 0n
      if (h.state !== 'OPEN') { use[0] += claimed; continue }
      use[0] += h.order.max_charge; use[1] += lastGrant(h) - claimed; use[2] += 1n
    }
    return use
  }
  // The account downstream: link and seq of the order, for this grid alone to read (section 3.2).
  private sealed(link: Link, seq: number): string {
    const key = (name: string) => createHmac('sha256', this.host.secret).update(name)
    const plain = Buffer.concat([link.genesis, Buffer.from(String(seq))]), iv = key('iv\0').update(plain).digest().subarray(0, 12)
    const c = createCipheriv('aes-256-gcm', key('seal\0').digest(), iv)
    return Buffer.concat([iv, c.update(plain), c.final(), c.getAuthTag()]).toString('base64url')
  }
}
export const rateBetween = (upstream: Tariff, downstream: Tariff, o: Order): Rate => ({ ...rate(upstream, downstream), lines: BigInt(o.order.prices.length) })
