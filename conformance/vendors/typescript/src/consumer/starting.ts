// What is checked before an invocation starts, by Table 1, and the order that is placed for it (RFC 0009 sections 3.3 and 3.5).
import { createHmac } from 'node:crypto'
import { orderPrice } from '../amounts.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Listing, Way } from '../catalog/finding.ts'
import { hex, idTime, multihash, need, nothing, now, placeAllowed } from '../core.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { checkLane, checkOrder, textsFit, type NewOrder } from '../placing.ts'
import { checkInput } from '../schema.ts'
import type { Account } from './account.ts'
import { nonceOf } from './invocation.ts'

const RETENTION = 604800000n, RUNNING = 8192, INPUT = 16384, LONGEST = 3600000n, USUAL = 60000n

export interface StartHost {
  grid: string; place: string; asset: string; scale: number; draining: boolean; secret: Buffer; catalog: Catalog
}
export interface Ready {
  listing: Listing
  names: string[]                          // of the grids on the way to the one that does the work
  placing?: { link: Link; order: NewOrder }     // where it is another one
}
const dataOf = (r: Msg.Invocation): Buffer => r.input?.data ?? nothing
const mediaOf = (r: Msg.Invocation): string => r.input?.media_type || 'application/json'

export function examine(host: StartHost, a: Account, r: Msg.Invocation, running: number): Ready {
  const at = now()
  checkId(host, r, running, at)
  const { finding } = host.catalog, listing = finding.resolve(r.offer), offer = listing.offer.offer, places = r.policy?.places ?? []
  checkLimits(r)
  if (listing.own) checkInput(offer.input_schema, dataOf(r))
  const place = offer.place || (listing.own ? host.place : '')
  need(placeAllowed(places, place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place })
  const way = listing.own ? undefined : finding.ways(listing.offer, { asset: host.asset, scale: host.scale })[0]
  const budget = { budget: a.budget, available: a.available, max_charge: r.max_charge }
  const price = orderPrice(way ? way.prices : offer.prices)
  need(r.max_charge >= price, 'BUDGET_EXCEEDED', 'The maximum charge is below what one order costs.', budget)
  textsFit(way ? [host.grid] : [], [], places, [r.session, r.group, mediaOf(r)])
  const placing = way && { link: way.link, order: draft(host, a, r, listing, way, at) }
  need(r.max_charge <= a.available, 'BUDGET_EXCEEDED', 'The budget is used up.', budget)
  return { listing, names: way?.route.names ?? [], placing }
}
function checkId(host: StartHost, r: Msg.Invocation, running: number, at: bigint) {
  const time = idTime(r.id)
  need(time >= at - RETENTION, 'ID_EXPIRED', 'The id is older than the retention.', { id: r.id, retention_ms: RETENTION })
  need(!host.draining, 'NODE_DRAINING', 'The node is shutting down.')
  need(running < RUNNING, 'NODE_BUSY', 'The node has no room.', { limit: RUNNING })
  need(time <= at + 300000n, 'ID_INVALID', 'The time of the id lies too far ahead.', { id: r.id })
}
function checkLimits(r: Msg.Invocation) {
  const size = dataOf(r).length, timeout: bigint = r.timeout_ms || USUAL
  need(size <= INPUT, 'INPUT_TOO_LARGE', 'The input is too large.', { size, limit: INPUT })
  need(timeout >= 1n && timeout <= LONGEST, 'DEADLINE_TOO_LONG', 'The timeout is not within 1 ms and an hour.', { limit_ms: LONGEST })
  need(r.max_charge >= 0n && r.first_grant >= 0n && r.first_grant <= r.max_charge, 'AMOUNT_INVALID', 'An amount is out of range.',
    { field: r.max_charge < 0n ? 'max_charge' : 'first_grant' })
}
function draft(host: StartHost, a: Account, r: Msg.Invocation, listing: Listing, way: Way, at: bigint): NewOrder {
  const { offer, digest } = listing.offer, data = dataOf(r)
  const grant: bigint = offer.charge_on === 2 ? r.max_charge : r.first_grant || r.max_charge
  checkLane(way.link, r.max_charge, grant)
  const nonce = nonceOf(host.secret, a.name, r.id)
  const input = { media_type: mediaOf(r), digest: multihash(nonce, data), size: BigInt(data.length), encoding: '' }
  const order = { id: r.id, offer_digest: digest, tariff_seq: BigInt(way.route.tariffSeq), input, prices: way.prices,
    max_charge: r.max_charge, grant, deadline: at + (r.timeout_ms || USUAL), hop_limit: 8, path: [host.grid], actors: [], policy: r.policy,
    nonce, session: r.session, group: r.group, account: pseudonym(host.secret, a.name) }
  checkOrder(way.link, order)
  return order
}
const pseudonym = (secret: Buffer, account: string) =>
  hex(createHmac('sha256', secret).update('account\0' + account).digest().subarray(0, 16))
