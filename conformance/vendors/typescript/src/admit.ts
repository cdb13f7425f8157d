// What a provider looks at when an order arrives: Table 3 of RFC 0009 section 3.6, checks 1 to 19, as one pure function.
import { applyTariff, orderPrice } from './amounts.ts'
import { eq, hex, idTime, multihash, need, refuse } from './core.ts'

export interface Admission {
  order: any; input: Buffer; now: bigint
  draining: boolean; suspended: boolean
  own: { grid: string; inline_bytes: number; input_bytes: number; orders: number }
  terms: { credit_limit: bigint; max_unagreed: bigint; max_open_holds: number; max_skew_ms: bigint }
  lane: { gross: bigint; unagreed: bigint; open: number }
  offer?: any                                   // decoded, if one with the order's digest is known
  tariff?: any                                  // valid tariff that the order names
  newestTariff: number                          // seq of the newest one for the same origin, 0 if there is none
  fits?: (input: Buffer) => void                // own offers: throws where the input does not fit the schema
}
export const sameLines = (a: any[], b: any[]) =>
  a.length === b.length && a.every((l, i) => l.unit === b[i].unit && l.num === b[i].num && l.den === b[i].den)

export function admit(x: Admission): 'admitted' | 'waits' {
  const o = x.order, t = x.terms
  need(!x.draining, 'NODE_DRAINING', 'The node is shutting down.')
  need(!x.suspended, 'PEERING_SUSPENDED', 'The peering takes no new orders.')
  need(o.deadline > x.now, 'DEADLINE_EXCEEDED', 'The deadline has passed.', { deadline: o.deadline })
  idTime(o.id)
  need(x.lane.gross <= t.credit_limit, 'CREDIT_LIMIT', 'The order exceeds the credit limit.', { limit: t.credit_limit, used: x.lane.gross - o.max_charge, requested: o.max_charge })
  need(o.grant <= t.max_unagreed, 'UNAGREED_LIMIT', 'The grant alone exceeds max_unagreed.', { limit: t.max_unagreed, used: 0, requested: o.grant })
  const limit = Math.min(t.max_open_holds, x.own.orders)
  need(x.lane.open <= limit, 'TOO_MANY_ORDERS', 'Too many orders are open.', { limit })
  need(!o.path.includes(x.own.grid), 'LOOP', 'The order has passed this grid already.', { grid: x.own.grid })
  need(o.path.length <= 16 && o.hop_limit <= 16, 'HOP_LIMIT', 'The path or the hop limit is too long.', { hop_limit: o.hop_limit })
  const most = Math.min(x.own.inline_bytes, x.own.input_bytes), size = o.input?.size ?? 0n
  need(size <= BigInt(most) && x.input.length <= most, 'INPUT_TOO_LARGE', 'The input is larger than this grid takes.', { size: x.input.length, limit: most })
  need(BigInt(x.input.length) === size && eq(multihash(o.nonce, x.input), o.input?.digest ?? Buffer.alloc(0)),
    'INPUT_INVALID', 'The input is not the one that the order promised.', { path: '$', rule: 'digest' })
  need(o.input.encoding === '', 'INPUT_INVALID', 'The input has an encoding.', { path: '$', rule: 'encoding' })
  need(x.offer, 'OFFER_UNKNOWN', 'No offer with this digest is known here.', { offer: hex(o.offer_digest) })
  const changed = (text: string): never => refuse('PRICE_CHANGED', text, { tariff_seq: x.newestTariff })
  if (!x.tariff || !eq(x.tariff.origin, x.offer.origin)) changed('The order names no tariff of this origin.')
  let lines: any[] = []
  try { lines = applyTariff(x.offer.prices, x.tariff) } catch { changed('The price under this tariff cannot be stated.') }
  if (!sameLines(lines, o.prices)) changed('The prices are not those of the tariff.')
  if (x.now > x.tariff.expires_at + t.max_skew_ms) changed('The tariff has expired.')
  if (x.offer.charge_on === 2) need(o.grant === o.max_charge, 'GRANT_INVALID', 'An offer charged on completion needs its whole maximum granted.', { amount: o.grant, limit: o.max_charge })
  need(o.max_charge >= orderPrice(o.prices), 'BUDGET_EXCEEDED', 'The maximum charge is below what one order costs.', { max_charge: o.max_charge })
  x.fits?.(x.input)
  return x.lane.unagreed <= t.max_unagreed ? 'admitted' : 'waits'
}
