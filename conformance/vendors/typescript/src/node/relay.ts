// Relaying: the order that this grid places downstream for an order of a peer (RFC 0011).
import { createCipheriv, createHmac } from 'node:crypto'
import { applyTariff, down, rate, type Rate, type Tariff } from '../amounts.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Way } from '../catalog/finding.ts'
import type { Offer } from '../catalog/offers.ts'
import { hopId, max, min, need, nothing, now, placeAllowed, refuse } from '../core.ts'
import { lastGrant } from '../holds.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { Order } from '../orders.ts'
import { Placed, type Finder } from '../placed.ts'
import { checkLane, checkOrder, textsFit, type NewOrder } from '../placing.ts'
import type { Book } from './book.ts'

export interface RelayHost extends Finder {
  grid: string; secret: Buffer; outage: bigint           // outage: how long one is tolerated, in milliseconds
  catalog: Catalog; links: Map<string, Link>
  book(link: Link): Book
  placeOrder(p: Placed): void
}

const NO_INPUT: Msg.PayloadDescriptor = { media_type: '', digest: nothing, size: 0n, encoding: '' }

export class Relay {
  constructor(private readonly host: RelayHost) {}

  // The checks in the order of section 3.1.
  place(o: Order, offer: Offer) {
    const { host } = this, placed = this.draft(o, offer)
    const p = new Placed(host, placed.link, placed.order, o.input, o, false)
    o.rate = placed.rate
    o.state = 'running'
    o.sink = p
    host.placeOrder(p)
  }
  private draft(o: Order, known: Offer): { link: Link; order: NewOrder; rate: Rate } {
    const { host } = this, { order, link: up } = o, { charge_on, place, prices } = known.offer, { asset, scale } = up.agreement
    const places = order.policy?.places ?? [], path = [...order.path, host.grid], input = order.input ?? NO_INPUT
    need(order.hop_limit >= 1, 'HOP_LIMIT', 'The order may take no further hop.', { hop_limit: order.hop_limit })
    need(placeAllowed(places, place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place })
    const [way] = host.catalog.finding.ways(known, { asset, scale, except: up }), { link } = way
    const r = this.rateOf(o, known.offer, way), deadline = this.deadline(o, link), most = link.peerLimits.inline_bytes
    need(o.input.length <= most, 'INPUT_TOO_LARGE', 'The input is larger than the next grid takes.', { size: o.input.length })
    textsFit(path, order.actors, places, [order.session, order.group, input.media_type])
    const max_charge = down(order.max_charge, r), grant = charge_on === 2 ? max_charge : min(down(order.grant, r), max_charge)
    checkLane(link, max_charge, grant)
    this.checkShare(up, link, max_charge, grant)
    const { offer_digest, actors, policy, nonce, session, group } = order
    const placed = { id: hopId(o.hold.at, host.secret, up.ledger.head(1, o.seq), 0), offer_digest, tariff_seq: BigInt(way.route.tariffSeq),
      input: { ...input, encoding: '' }, prices: applyTariff(prices, way.tariff), max_charge, grant, deadline,
      hop_limit: order.hop_limit - 1, path, actors, policy, nonce, session, group, account: this.sealed(up, o.seq) }
    checkOrder(link, placed)
    return { link, order: placed, rate: r }
  }
  private rateOf(o: Order, offer: Msg.Offer, way: Way): Rate {
    const { advertising } = this.host.catalog, tariff = advertising.ownTariff(o.link, Number(o.order.tariff_seq))
    const newest = { tariff_seq: advertising.newestTariff(o.link, offer.origin) }
    need(tariff, 'PRICE_CHANGED', 'The tariff is not known any longer.', newest)
    try { return rateBetween(tariff, way.tariff, o) } catch (e) {
      return refuse('PRICE_CHANGED', e instanceof Error ? e.message : '', newest)
    }
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
export const rateBetween = (upstream: Tariff, downstream: Tariff, o: Order): Rate =>
  ({ ...rate(upstream, downstream), lines: BigInt(o.order.prices.length) })
