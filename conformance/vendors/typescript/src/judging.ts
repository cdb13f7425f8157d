// Judges one entry and gives it its effect, or names the rule that it breaks (RFC 0007 sections 3.4 to 3.8).
import { sumOf } from './amounts.ts'
import { characters, max, MAX64, refuse } from './core.ts'
import {
  agreedAt, claimed, credited, KIND, lastGrant, other, type Claim, type Hold, type Lane, type Log, type Side, type Terms,
} from './holds.ts'
import type * as Msg from './messages.ts'
import type { Undo } from './undo.ts'

const TARIFFS = 2048

const body = <T>(b: T | undefined): T => b ?? refuse('ENTRY_MALFORMED')

export class Judge {
  constructor(
    private readonly logs: [Log, Log], private readonly lanes: [Lane, Lane], private readonly terms: Terms, private readonly undo: Undo,
  ) {}

  // The hold that the entry is about, if it is about one.
  judge(side: Side, seq: number, e: Msg.Entry): Hold | undefined {
    if (e.kind >= 128) return undefined
    switch (e.kind) {
      case KIND.agreement: body(e.agreement); return seq === 1 ? undefined : refuse('UNSUPPORTED_ENTRY')
      case KIND.tariff: return this.tariff(side, seq, e, body(e.tariff))
      case KIND.order: return this.order(side, seq, e, body(e.order))
      case KIND.grant: return this.grant(side, seq, e, body(e.grant))
      case KIND.cancel: return this.cancel(side, seq, e, body(e.cancel))
      case KIND.reject: return this.reject(side, seq, e, body(e.reject))
      case KIND.charge: return this.charge(side, seq, e, body(e.charge))
      case KIND.credit: return this.credit(side, seq, e, body(e.credit))
      case KIND.refuse: return this.refusal(side, e, body(e.refuse))
      case KIND.withdraw: return this.withdraw(side, body(e.withdraw))
      case KIND.expire: return this.expire(side, seq, e, body(e.expire))
      default: return refuse('UNSUPPORTED_ENTRY')
    }
  }

  // Changes a hold and keeps the sums of its lane right.
  private change(h: Hold, fn: () => void): Hold {
    this.keep(this.lanes[h.payer])
    this.weigh(h, -1n); fn(); this.weigh(h, 1n)
    return h
  }
  private keep(lane: Lane) { const was = { ...lane }; this.undo.later(() => Object.assign(lane, was)) }
  private weigh(h: Hold, sign: bigint) {
    const lane = this.lanes[h.payer], c = claimed(h)
    lane.posted += sign * (c - credited(h))
    lane.agreedNow += sign * agreedAt(h, Infinity)
    if (h.state !== 'OPEN') return
    lane.pending += sign * (h.order.max_charge - c)
    lane.granted += sign * lastGrant(h)
    lane.earned += sign * c
    lane.open += Number(sign)
  }
  private end(h: Hold, state: Hold['state'], seq: number) { this.undo.put(h, 'state', state); this.undo.put(h, 'endedBy', seq) }

  private tariff(side: Side, seq: number, e: Msg.Entry, t: Msg.Tariff): undefined {
    if (t.markup_num < 0n || t.fee < 0n || t.markup_den <= 0n || t.expires_at <= e.at) refuse('TARIFF_INVALID')
    const tariffs = this.logs[side].tariffs
    this.undo.add(tariffs, seq, t)
    if (tariffs.size <= TARIFFS) return
    const [oldest] = tariffs
    tariffs.delete(oldest[0])
    this.undo.later(() => {
      const all = [oldest, ...tariffs]
      tariffs.clear()
      for (const [s, x] of all) tariffs.set(s, x)
    })
  }

  // ---- orders, and what is about them: the two tables of section 3.7 ----
  private order(side: Side, seq: number, e: Msg.Entry, o: Msg.Order): Hold {
    const { claim_window_ms, max_hold_ms } = this.terms, units = o.prices.map(p => p.unit)
    const priced = units.length <= 16 && new Set(units).size === units.length && o.prices.every(p => p.num >= 0n && p.den > 0n)
    const timed = o.deadline > e.at && o.deadline <= e.at + max_hold_ms && o.deadline <= MAX64 - claim_window_ms
    const named = characters(o.id) === 36 && o.nonce.length >= 16 && o.nonce.length <= 32
    if (!priced || !timed || !named || o.grant < 0n || o.grant > o.max_charge) refuse('ORDER_INVALID')
    const h: Hold = { payer: side, seq, order: o, at: e.at, claimUntil: o.deadline + claim_window_ms, state: 'OPEN', endedBy: 0,
      grants: [{ seq, amount: o.grant }], claims: [], credits: [], canceled: false }
    this.keep(this.lanes[side])
    this.undo.add(this.logs[side].holds, seq, h)
    this.weigh(h, 1n)
    return h
  }
  private ofPayer(side: Side, seq: number, order_seq: bigint): Hold {
    const n = Number(order_seq), h = this.logs[side].holds.get(n)
    return h && n < seq ? h : refuse('ORDER_UNKNOWN')
  }
  private ofProvider(side: Side, e: Msg.Entry, order_seq: bigint): Hold {
    const n = Number(order_seq), h = this.logs[other(side)].holds.get(n)
    return h && n <= Number(e.seen) ? h : refuse('ORDER_UNKNOWN')
  }
  // Not ended as far as the payer had seen.
  private notEnded(h: Hold, e: Msg.Entry) {
    if (h.state === 'EXPIRED' || h.state !== 'OPEN' && h.endedBy <= Number(e.seen)) refuse('ORDER_ENDED')
  }
  private grant(side: Side, seq: number, e: Msg.Entry, b: Msg.Grant): Hold {
    const h = this.ofPayer(side, seq, b.order_seq)
    this.notEnded(h, e)
    if (b.amount <= lastGrant(h) || b.amount > h.order.max_charge) refuse('GRANT_INVALID')
    return this.change(h, () => this.undo.push(h.grants, { seq, amount: b.amount }))
  }
  private cancel(side: Side, seq: number, e: Msg.Entry, b: Msg.Cancel): Hold {
    const h = this.ofPayer(side, seq, b.order_seq)
    this.notEnded(h, e)
    if (h.state === 'OPEN') this.undo.put(h, 'canceled', true)
    return h
  }
  private reject(side: Side, seq: number, e: Msg.Entry, b: Msg.Reject): Hold {
    const h = this.ofProvider(side, e, b.order_seq)
    if (h.state === 'EXPIRED') refuse('CHARGE_EXPIRED')
    if (h.state !== 'OPEN') refuse('ORDER_ENDED')
    if (h.claims.length) refuse('REJECT_AFTER_CHARGE')
    return this.change(h, () => { this.end(h, 'REJECTED', seq); this.undo.put(h, 'reject', b) })
  }
  private charge(side: Side, seq: number, e: Msg.Entry, b: Msg.Charge): Hold {
    const h = this.ofProvider(side, e, b.order_seq), { amount, quantities, final } = b
    this.checkCharge(h, Number(e.seen), b)
    this.change(h, () => {
      this.undo.push(h.claims, { seq, amount, quantities, final, refused: false, charge: b })
      if (final) this.end(h, 'CHARGED', seq)
    })
    this.undo.add(this.logs[side].touched, seq, h)
    return h
  }
  private checkCharge(h: Hold, seen: number, { amount, quantities: q }: Msg.Charge) {
    if (h.state === 'EXPIRED') refuse('CHARGE_EXPIRED')
    if (h.state !== 'OPEN') refuse('CHARGE_AFTER_END')
    const last = h.claims.at(-1)
    if (q.length !== h.order.prices.length || q.some(x => x < 0n)) refuse('CHARGE_ARITHMETIC')
    if (last && q.some((x, i) => x < last.quantities[i])) refuse('CHARGE_DECREASED')
    const grant = h.grants.reduce((g, x) => x.seq <= seen ? max(g, x.amount) : g, 0n)
    if (amount < 0n || amount > grant) refuse('CHARGE_BEYOND_GRANT')
    if (amount !== sumOf(h.order.prices, q)) refuse('CHARGE_ARITHMETIC')
  }
  private credit(side: Side, seq: number, e: Msg.Entry, b: Msg.Credit): Hold {
    const h = this.ofProvider(side, e, b.order_seq)
    if (h.state === 'REJECTED') refuse('CREDIT_INVALID')
    if (h.state === 'EXPIRED' && Number(e.seen) < h.endedBy) refuse('CHARGE_EXPIRED')
    if (b.amount < 1n || b.amount > claimed(h) - credited(h)) refuse('CREDIT_INVALID')
    this.change(h, () => this.undo.push(h.credits, { seq, amount: b.amount }))
    this.undo.add(this.logs[side].touched, seq, h)
    return h
  }
  private expire(side: Side, seq: number, e: Msg.Entry, b: Msg.Expire): Hold {
    const h = this.ofPayer(side, seq, b.order_seq), seen = Number(e.seen)
    if (h.state === 'EXPIRED') refuse('ORDER_ENDED')
    if (e.at < h.claimUntil) refuse('EXPIRE_EARLY')
    this.notEnded(h, e)
    return this.change(h, () => {
      this.undo.put(h, 'claims', h.claims.filter(c => c.seq <= seen))
      this.undo.put(h, 'credits', h.credits.filter(c => c.seq <= seen))
      this.end(h, 'EXPIRED', seq)
    })
  }

  // ---- about a charge ----
  private claimAt(author: Side, n: number): [Hold, Claim] | undefined {
    const h = this.logs[other(author)].touched.get(n), c = h?.claims.find(c => c.seq === n)
    return h && c && h.payer === author ? [h, c] : undefined
  }
  private refusal(side: Side, e: Msg.Entry, b: Msg.Refuse): Hold | undefined {
    const n = Number(b.entry_seq)
    if (n < 1 || n > Number(e.seen)) refuse('REFUSE_INVALID')
    if (n <= this.logs[side].acked) refuse('REFUSE_LATE')
    const [hold, claim] = this.claimAt(side, n) ?? []
    if (!hold || !claim) return undefined
    if (claim.refused) refuse('REFUSE_INVALID')
    return this.change(hold, () => this.undo.put(claim, 'refused', true))
  }
  private withdraw(side: Side, b: Msg.Withdraw): Hold {
    const [hold, claim] = this.claimAt(side, Number(b.entry_seq)) ?? []
    if (!hold || !claim?.refused) return refuse('WITHDRAW_INVALID')
    return this.change(hold, () => this.undo.put(claim, 'refused', false))
  }
}
