// What a provider looks at when an order arrives: Table 3 of RFC 0009 section 3.6, checks 1 to 19, as one pure function.
import { applyTariff, orderPrice } from './amounts.ts'
import { eq, hex, idTime, multihash, need, nothing, refuse } from './core.ts'
import type * as Msg from './messages.ts'

export interface Admission {
  order: Msg.Order; input: Buffer; now: bigint
  draining: boolean; suspended: boolean
  own: { grid: string; inline_bytes: number; input_bytes: number; orders: number }
  terms: { credit_limit: bigint; max_unagreed: bigint; max_open_holds: number; max_skew_ms: bigint }
  lane: { gross: bigint; unagreed: bigint; open: number }
  offer?: Msg.Offer                             // if one with the order's digest is known
  tariff?: Omit<Msg.Tariff, 'catalog'>          // valid tariff that the order names
  newestTariff: number                          // seq of the newest one for the same origin, 0 if there is none
  fits?: (input: Buffer) => void                // own offers: throws where the input does not fit the schema
}
export const sameLines = (a: Msg.PriceLine[], b: Msg.PriceLine[]) =>
  a.length === b.length && a.every((l, i) => l.unit === b[i].unit && l.num === b[i].num && l.den === b[i].den)

export function admit(x: Admission): 'admitted' | 'waits' {
  checkLimits(x)
  checkPath(x)
  checkInput(x)
  checkPrice(x)
  x.fits?.(x.input)
  return x.lane.unagreed <= x.terms.max_unagreed ? 'admitted' : 'waits'
}
function checkLimits({ order: o, terms: t, lane, own, now, draining, suspended }: Admission) {
  need(!draining, 'NODE_DRAINING', 'The node is shutting down.')
  need(!suspended, 'PEERING_SUSPENDED', 'The peering takes no new orders.')
  need(o.deadline > now, 'DEADLINE_EXCEEDED', 'The deadline has passed.', { deadline: o.deadline })
  idTime(o.id)
  need(lane.gross <= t.credit_limit, 'CREDIT_LIMIT', 'The order exceeds the credit limit.',
    { limit: t.credit_limit, used: lane.gross - o.max_charge, requested: o.max_charge })
  need(o.grant <= t.max_unagreed, 'UNAGREED_LIMIT', 'The grant alone exceeds max_unagreed.',
    { limit: t.max_unagreed, used: 0, requested: o.grant })
  const limit = Math.min(t.max_open_holds, own.orders)
  need(lane.open <= limit, 'TOO_MANY_ORDERS', 'Too many orders are open.', { limit })
}
function checkPath({ order: o, own }: Admission) {
  need(!o.path.includes(own.grid), 'LOOP', 'The order has passed this grid already.', { grid: own.grid })
  need(o.path.length <= 16 && o.hop_limit <= 16, 'HOP_LIMIT', 'The path or the hop limit is too long.', { hop_limit: o.hop_limit })
}
function checkInput({ order: o, input, own }: Admission) {
  const most = Math.min(own.inline_bytes, own.input_bytes), promised = o.input ?? { digest: nothing, size: 0n, encoding: '' }
  need(promised.size <= BigInt(most) && input.length <= most, 'INPUT_TOO_LARGE', 'The input is larger than this grid takes.',
    { size: input.length, limit: most })
  need(BigInt(input.length) === promised.size && eq(multihash(o.nonce, input), promised.digest),
    'INPUT_INVALID', 'The input is not the one that the order promised.', { path: '$', rule: 'digest' })
  need(promised.encoding === '', 'INPUT_INVALID', 'The input has an encoding.', { path: '$', rule: 'encoding' })
}
function checkPrice({ order: o, offer, tariff, newestTariff, now, terms }: Admission) {
  need(offer, 'OFFER_UNKNOWN', 'No offer with this digest is known here.', { offer: hex(o.offer_digest) })
  const changed: (text: string) => never = text => refuse('PRICE_CHANGED', text, { tariff_seq: newestTariff })
  if (!tariff || !eq(tariff.origin, offer.origin)) changed('The order names no tariff of this origin.')
  let lines: Msg.PriceLine[]
  try { lines = applyTariff(offer.prices, tariff) } catch { changed('The price under this tariff cannot be stated.') }
  if (!sameLines(lines, o.prices)) changed('The prices are not those of the tariff.')
  if (now > tariff.expires_at + terms.max_skew_ms) changed('The tariff has expired.')
  if (offer.charge_on === 2) need(o.grant === o.max_charge, 'GRANT_INVALID',
    'An offer charged on completion needs its whole maximum granted.', { amount: o.grant, limit: o.max_charge })
  need(o.max_charge >= orderPrice(o.prices), 'BUDGET_EXCEEDED', 'The maximum charge is below what one order costs.',
    { max_charge: o.max_charge })
}
