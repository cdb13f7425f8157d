// What is checked before an order is placed, a consumer's and a relayed one alike (RFC 0009 section 3.3, RFC 0011 section 3.1).
import { max, need, now } from './core.ts'
import type { Link } from './link.ts'
import type * as Msg from './messages.ts'
import { encode } from './proto.ts'

export type NewOrder = Omit<Msg.Order, 'authority'>
const TEXTS = 32768, ENTRY = 65536

export function textsFit(path: string[], actors: string[], places: string[], others: string[]) {
  const size = [...path, ...actors, ...places, ...others].reduce((n, s) => n + 4 * [...s].length + 8, 0)
  need(size <= TEXTS, 'PAYLOAD_TOO_LARGE', 'The texts of the order are too long.', { size, limit: TEXTS })
}
export function checkLane(link: Link, maximum: bigint, grant: bigint) {
  need(!link.suspended, 'PEERING_SUSPENDED', 'The peering takes no orders.')
  const l = link.ledger, t = link.ownTerms
  need(l.gross(0) + maximum <= t.credit_limit, 'CREDIT_LIMIT', 'The order exceeds the credit limit.', {})
  need(l.unagreed(0) + grant <= t.max_unagreed, 'UNAGREED_LIMIT', 'The grant exceeds what may be unagreed.', {})
  const most = Math.min(link.agreement.max_open_holds, link.peerLimits.orders)
  need(l.lanes[0].open < most, 'TOO_MANY_ORDERS', 'Too many orders are open.', {})
}
export function checkOrder(link: Link, order: NewOrder) {
  const { hops } = link.peerLimits
  need(order.path.length <= hops, 'HOP_LIMIT', 'The path is too long for the next grid.', { hop_limit: hops })
  const at = max(now(), link.ledger.logs[0].at)
  const size = encode('Order', order).length + 64           // for what stands beside the order in its entry
  need(size <= ENTRY, 'PAYLOAD_TOO_LARGE', 'The order is too large for an entry.', { size, limit: ENTRY })
  need(order.prices.length <= 16, 'PRICE_CHANGED', 'There are too many price lines.', { tariff_seq: order.tariff_seq })
  need(order.deadline > at, 'DEADLINE_EXCEEDED', 'The deadline has passed.', { deadline: order.deadline })
  need(order.deadline <= at + link.agreement.max_hold_ms, 'DEADLINE_TOO_LONG', 'The deadline is further ahead than the agreement allows.',
    { limit_ms: link.agreement.max_hold_ms })
}
