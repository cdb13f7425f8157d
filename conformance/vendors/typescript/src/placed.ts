// Orders that this grid places, a consumer's and a relayed one alike: their ends, events and grants (RFC 0009, RFC 0011).
import { max, min, now, Refusal } from './core.ts'
import { problemOf } from './errors.ts'
import { failed, type End, type Source } from './execution.ts'
import { lastGrant, type Hold } from './holds.ts'
import type { Chain } from './identity.ts'
import type { Link } from './link.ts'
import type * as Msg from './messages.ts'
import type { NewOrder } from './placing.ts'
import { decode, type Draft } from './proto.ts'
import { checkFinalCharge } from './records.ts'
import { eventSize, FIRST_WINDOW } from './semantics.ts'

// What the one who placed an order is told of it.
export interface Placer extends Source { expired(): void; ended?(h: Hold): void; credited?(): void; opened?(): void }
export interface Finder { executorOf(offerDigest: Buffer, named?: Buffer): Chain | undefined }

export class Placed {
  hold!: Hold
  last = 0n                                   // number of the last durable event that has passed
  over = false
  private resumedFor = -1n
  private wanted = 0n                         // grant that is still to be given
  private canceled = false
  private wrote = false
  constructor(
    readonly finder: Finder, readonly link: Link, readonly order: NewOrder, readonly input: Buffer,
    readonly placer: Placer, readonly returnsCredit: boolean,
  ) {}
  // After a restart: the order as the own log has it; what has ended it is told again.
  take(h: Hold) { this.hold = h; if (h.canceled) this.wrote = this.canceled = true }
  retell() {
    const h = this.hold, c = h.claims.at(-1)
    if (h.state === 'REJECTED') this.rejected(h.reject)
    else if (h.state === 'EXPIRED') this.expire()
    else if (h.state === 'CHARGED' && c?.refused) {
      this.over = true
      this.placer.end(failed(problemOf('CHARGE_UNPROVEN', 'The final charge was refused.')))
    } else if (h.state === 'CHARGED' && c) this.charged(c.seq, c.charge, c.seq <= this.link.ledger.logs[0].acked)
  }
  place() {
    const { hold } = this.link.append({ order: this.order }, this.input)
    if (!hold) throw new Error('an order without a hold')
    this.hold = hold
  }
  get seq() { return this.hold.seq }

  // ---- its end ----
  rejected(b: Msg.Reject | undefined) {
    this.over = true
    this.placer.rejected(b?.problem ?? problemOf('INTERNAL', 'The provider named no reason.'))
    this.placer.ended?.(this.hold)
  }
  // `agreed`: the charge was proven before a restart.
  charged(seq: number, c: Msg.Charge, agreed = false) {
    if (!c.final) { this.placer.partial(c.quantities); return }
    this.over = true
    const before = this.hold.claims.filter(x => x.seq < seq)
    try { this.placer.end(this.endBy(c, before.at(-1)?.amount ?? 0n, agreed)) } catch (e) {
      if (!(e instanceof Refusal)) throw e
      this.link.append({ refuse: { entry_seq: BigInt(seq), rule: e.reason } })
      const sound = before.filter(x => !x.refused).at(-1)
      this.placer.end({ ...failed(e.problem), quantities: sound?.quantities ?? [] })
    }
    this.placer.ended?.(this.hold)
  }
  private endBy(c: Msg.Charge, before: bigint, agreed: boolean): End {
    const record = agreed ? c.proof && decode('ExecutionRecord', c.proof.record) : this.proven(c, before)
    const usage = (record?.usage ?? []).filter(u => u.quantity > 0n).map((u): End['usage'][number] => [u.unit, u.quantity])
    return { state: c.state, quantities: c.quantities, usage, problem: c.problem, proof: c.proof, record }
  }
  private proven(c: Msg.Charge, before: bigint): Msg.ExecutionRecord | undefined {
    return checkFinalCharge(this.order, c, before, named => this.finder.executorOf(this.order.offer_digest, named))?.record
  }
  expire() { this.over = true; this.placer.expired() }

  // ---- events ----
  event(e: Msg.Event) {
    if (e.grant_needed) { if (!this.over) this.placer.needGrant(e.grant_needed.amount); return }
    if (e.gap) { this.last = max(this.last, e.gap.last); this.placer.event(e); return }
    if (e.number === 0n) { if (e.progress) this.placer.event(e); return }
    if (!(e.state_change || e.chunk || e.input_request || e.result)) return
    if (this.returnsCredit) this.credit(BigInt(eventSize(e)))
    if (e.number <= this.last) return
    if (e.number !== this.last + 1n) { this.again(); return }
    this.last = e.number
    this.placer.event(e)
  }
  private again() { if (this.resumedFor !== this.last) { this.resumedFor = this.last; this.resume() } }
  send(body: Draft<Msg.Event>) { this.link.event({ order_seq: BigInt(this.seq), at: now(), ...body }) }
  resume(after = this.last, credit?: bigint) {
    if (credit !== undefined) this.last = after
    this.send({ resume: { after_seq: after, credit: credit ?? BigInt(FIRST_WINDOW) } })
  }
  credit(bytes: bigint) { this.send({ byte_credit: { bytes } }) }
  raise(to: bigint) {
    this.wanted = max(this.wanted, min(to, this.order.max_charge))
    const h = this.hold, have = lastGrant(h)
    if (h.state !== 'OPEN' || !this.link.writable || this.wanted <= have) return
    const room = this.link.ownTerms.max_unagreed - this.link.ledger.unagreed(0)
    const amount = min(this.wanted, have + max(room, 0n))
    if (amount > have) this.link.append({ grant: { order_seq: BigInt(h.seq), amount } })
  }
  settle() { if (this.wanted > lastGrant(this.hold)) this.raise(this.wanted) }
  cancel() {
    this.canceled = true
    if (this.wrote || this.over || !this.link.writable || this.hold.state !== 'OPEN') return
    this.wrote = true
    this.link.append({ cancel: { order_seq: BigInt(this.seq) } })
  }
  opened() {
    if (this.canceled) this.cancel()
    if (!this.over) this.resume()
    this.settle()
  }
}
