// Orders on links: those that peers place here (Order), and those that this grid places (Placed). A relay is an Order whose work is a Placed.
import { charge as priceOf, down, up, sumOf, type Rate } from './amounts.ts'
import { max, min, now, Refusal } from './core.ts'
import { Execution, STATE, type End, type Source } from './execution.ts'
import type { Link } from './link.ts'
import { claimed, KIND, lastGrant, type Claim, type Hold } from './log.ts'
import { decode } from './proto.ts'
import { checkFinalCharge } from './records.ts'
import { eventSize, FIRST_WINDOW } from './semantics.ts'
import type { Chain } from './identity.ts'

const cutText = (s: string, n: number) => [...s].slice(0, n).join('')
export const cutProblem = (p: any) => ({ reason: cutText(p?.reason ?? '', 64), message: cutText(p?.message ?? '', 1024),
  metadata: new Map([...(p?.metadata ?? new Map())].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b))).slice(0, 16).map(([k, v]) => [cutText(k, 64), cutText(v, 256)] as [string, string])) })
export const problemOf = (reason: string, message: string, metadata: any = {}) => new Refusal(reason, message, metadata).problem

export class Order implements Source {
  state: 'waiting' | 'running' | 'ended' = 'waiting'
  sink: Execution | Placed | null = null
  rate: Rate | null = null                  // of a relayed order
  cancelAsked = false
  private window = FIRST_WINDOW
  private next = 0
  private paused = false                    // after a reopening, until the payer resumes
  private final: { end?: End; reject?: any } | null = null
  private lacks = 0n                        // what was asked upstream and not granted yet
  constructor(readonly link: Link, readonly hold: Hold, public input: Buffer, readonly waiting: () => bigint) {}
  get seq() { return this.hold.seq }
  get order() { return this.hold.order }
  private get open() { return this.hold.state === 'OPEN' }

  // ---- Source ----
  grant() { return lastGrant(this.hold) }
  // Orders that wait do no work yet and leave their room to those that run.
  room() { return this.link.ledger.unagreed(1) - this.waiting() <= this.link.peerTerms.max_unagreed }
  allows(price: bigint) { return price <= this.grant() && (price <= max(this.hold.grants[0].amount, claimed(this.hold)) || this.room()) }
  started() {}
  partial(q: bigint[]) {
    const last = this.hold.claims.at(-1)
    if (!this.link.writable || !this.open) return
    const quantities = this.rate ? this.convert(q) : q, amount = sumOf(this.order.prices, quantities)
    if (last ? quantities.every((x, i) => x === last.quantities[i]) || quantities.some((x, i) => x < last.quantities[i]) : quantities.every(x => x === 0n)) return
    if (!this.allows(amount)) return
    this.link.append(KIND.CHARGE, 'charge', { order_seq: BigInt(this.seq), quantities, amount })
  }
  needGrant(amount: bigint) {
    if (this.rate) { this.lacks = amount; amount = min(up(amount, this.rate), this.order.max_charge) }
    this.link.event({ order_seq: BigInt(this.seq), at: now(), grant_needed: { amount } })
  }
  end(e: End) { this.state = 'ended'; this.input = Buffer.alloc(0); this.final ??= { end: e }; this.write() }
  rejected(problem: any) { this.state = 'ended'; this.input = Buffer.alloc(0); this.final ??= { reject: cutProblem(problem) }; this.write() }
  expired() { this.end({ state: STATE.FAILED, quantities: [], usage: [], problem: problemOf('OUTCOME_UNKNOWN', 'The order placed downstream has expired.', { deadline: this.order.deadline }) }) }

  // Quantities of the upstream lines from those of the downstream ones; a line that only upstream has is read from the record.
  private convert(q: bigint[], record?: any): bigint[] {
    const below = (this.sink as Placed).order.prices
    return this.order.prices.map((p: any) => {
      const i = below.findIndex((b: any) => b.unit === p.unit)
      return i >= 0 ? q[i] ?? 0n : record?.usage.find((u: any) => u.unit === p.unit)?.quantity ?? 0n
    })
  }
  // Writes the end that is known, as soon as the link allows and if the hold still is.
  write() {
    const f = this.final, link = this.link
    if (!f || !link.writable || !this.open) return
    const last = this.hold.claims.at(-1)
    if (f.reject && !last) {
      link.append(KIND.REJECT, 'reject', { order_seq: BigInt(this.seq), problem: f.reject })
      link.event({ order_seq: BigInt(this.seq), at: now(), result: { state: STATE.REJECTED, problem: f.reject } })
      return
    }
    let e: End = f.end ?? { state: STATE.FAILED, quantities: [], usage: [], problem: f.reject }
    const before = last?.quantities ?? this.order.prices.map(() => 0n)
    let quantities = f.end && e.quantities.length && (!this.rate || e.proof) ? this.rate ? this.convert(e.quantities, e.record) : e.quantities : before
    if (sumOf(this.order.prices, quantities) > this.grant()) {
      e = { ...e, state: STATE.FAILED, proof: undefined, problem: problemOf('GRANT_EXHAUSTED', 'The work cost more than was granted.', { grant: this.grant(), needed: sumOf(this.order.prices, quantities) }) }
      quantities = before
    } else if (quantities.some((x, i) => x < before[i])) quantities = before
    const amount = sumOf(this.order.prices, quantities)
    link.append(KIND.CHARGE, 'charge', { order_seq: BigInt(this.seq), quantities, amount, final: true, state: e.state, proof: e.proof, problem: e.problem && cutProblem(e.problem) })
  }

  // ---- events to the payer ----
  event(e: any) {
    if (e.number === 0n || !(this.sink instanceof Execution)) this.link.event({ ...e, order_seq: BigInt(this.seq) })   // a relay holds nothing back
    else this.pump()
  }
  private pump() {
    const x = this.sink as Execution
    while (!this.paused && this.link.writable && this.window > 0 && this.next < x.events.length) this.sendDurable(x.events[this.next++])
  }
  private sendDurable(e: any) {
    this.window -= eventSize({ ...e, $raw: undefined })
    this.link.event({ ...e, order_seq: BigInt(this.seq) })
  }
  gap(first: bigint, reason: string, last = 0n) {
    this.link.event({ order_seq: BigInt(this.seq), at: now(), gap: { first, last, problem: problemOf(reason, 'Durable events cannot be sent.', {}) } })
  }
  fromPayer(e: any) {
    const x = this.sink
    if (e.input_reply) { if (x instanceof Execution) x.give(e.input_reply); else x?.send({ input_reply: e.input_reply }) }
    else if (e.resume) {
      this.window = Number(e.resume.credit); this.paused = false
      if (x instanceof Execution) { this.next = Math.min(Number(e.resume.after_seq), x.events.length); this.pump() }
      else if (x) x.resume(e.resume.after_seq, e.resume.credit)
      else this.gap(e.resume.after_seq + 1n, 'EVENTS_GONE')
    } else if (e.byte_credit) {
      if (e.byte_credit.bytes > 0n) this.window += Number(e.byte_credit.bytes)
      if (x instanceof Execution) this.pump(); else x?.credit(e.byte_credit.bytes)
    }
  }

  // ---- what happens to it ----
  granted() {
    if (this.sink instanceof Execution) this.sink.wake()
    else if (this.sink && this.rate) this.sink.raise(down(this.grant(), this.rate))
  }
  cancel() {
    this.cancelAsked = true
    if (this.state === 'waiting') this.rejected(problemOf('CANCELED', 'The order was canceled before it began.'))
    else this.sink?.cancel()
  }
  over() {                                   // it has expired
    this.state = 'ended'
    if (this.sink instanceof Execution) this.sink.abort(new Refusal('OUTCOME_UNKNOWN', 'The order has expired.'))
    else this.sink?.cancel()
  }
  opened() {
    this.write()
    if (this.cancelAsked) this.sink?.cancel()
    if (this.open && this.state === 'running') {
      if (this.sink instanceof Execution) this.sink.askAgain()
      else if (this.sink) { this.granted(); if (this.lacks > 0n && this.rate && this.lacks > down(this.grant(), this.rate)) this.needGrant(this.lacks) }
    }
  }
  lost() { this.paused = true }
}

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
  constructor(readonly finder: Finder, readonly link: Link, readonly order: any, readonly input: Buffer, readonly placer: Placer, readonly returnsCredit: boolean) {}
  // After a restart: the order as the own log has it; what has ended it is told again.
  take(h: Hold) { this.hold = h; if (h.canceled) this.wrote = this.canceled = true }
  retell() {
    const h = this.hold, c = h.claims.at(-1)
    if (h.state === 'REJECTED') this.entry(KIND.REJECT, h.endedBy, { reject: h.reject })
    else if (h.state === 'EXPIRED') this.expire()
    else if (h.state === 'CHARGED' && c?.refused) { this.over = true; this.placer.end({ state: STATE.FAILED, quantities: [], usage: [], problem: problemOf('CHARGE_UNPROVEN', 'The final charge was refused.') }) }
    else if (h.state === 'CHARGED') this.entry(KIND.CHARGE, c!.seq, { charge: c!.charge }, c!.seq <= this.link.ledger.logs[0].acked)
  }
  place() { this.hold = this.link.append(KIND.ORDER, 'order', this.order, this.input).hold! }
  get seq() { return this.hold.seq }

  entry(kind: number, seq: number, e: any, agreed = false) {
    if (kind === KIND.REJECT) { this.over = true; this.placer.rejected(e.reject.problem ?? problemOf('INTERNAL', 'The provider named no reason.')) }
    else if (kind === KIND.CHARGE) {
      const c = e.charge, before = this.hold.claims.filter(x => x.seq < seq)
      if (!c.final) { this.placer.partial(c.quantities); return }
      this.over = true
      try {
        const proven = agreed ? c.proof && { record: decode('ExecutionRecord', c.proof.record) } : checkFinalCharge(this.order, c, c.proof?.$raw, before.at(-1)?.amount ?? 0n, named => this.finder.executorOf(this.order.offer_digest, named))
        this.placer.end({ state: c.state, quantities: c.quantities, usage: proven?.record.usage.filter((u: any) => u.quantity > 0n).map((u: any) => [u.unit, u.quantity]) ?? [],
          problem: c.problem, proof: c.proof, record: proven?.record })
      } catch (err: any) {
        if (!(err instanceof Refusal)) throw err
        this.link.append(KIND.REFUSE, 'refuse', { entry_seq: BigInt(seq), rule: err.reason })
        const sound = before.filter((x: Claim) => !x.refused).at(-1)
        this.placer.end({ state: STATE.FAILED, quantities: sound?.quantities ?? [], usage: [], problem: err.problem })
      }
    }
    this.placer.ended?.(this.hold)
  }
  expire() { this.over = true; this.placer.expired() }

  event(e: any) {
    if (e.grant_needed) { if (!this.over) this.placer.needGrant(e.grant_needed.amount); return }
    if (e.gap) { if (e.gap.last > this.last) this.last = e.gap.last; this.placer.event(e); return }
    if (e.number === 0n) { if (e.progress) this.placer.event(e); return }
    if (!(e.state_change || e.chunk || e.input_request || e.result)) return
    if (this.returnsCredit) this.credit(BigInt(eventSize(e)))
    if (e.number <= this.last) return
    if (e.number !== this.last + 1n) { this.again(); return }
    this.last = e.number
    this.placer.event(e)
  }
  private again() { if (this.resumedFor !== this.last) { this.resumedFor = this.last; this.resume() } }
  send(body: any) { this.link.event({ order_seq: BigInt(this.seq), at: now(), ...body }) }
  resume(after = this.last, credit?: bigint) {
    if (credit !== undefined) this.last = after
    this.send({ resume: { after_seq: after, credit: credit ?? BigInt(FIRST_WINDOW) } })
  }
  credit(bytes: bigint) { this.send({ byte_credit: { bytes } }) }
  raise(to: bigint) {
    this.wanted = max(this.wanted, min(to, this.order.max_charge))
    const h = this.hold, have = lastGrant(h)
    if (h.state !== 'OPEN' || !this.link.writable || this.wanted <= have) return
    const room = this.link.ownTerms.max_unagreed - this.link.ledger.unagreed(0), amount = min(this.wanted, have + max(room, 0n))
    if (amount > have) this.link.append(KIND.GRANT, 'grant', { order_seq: BigInt(h.seq), amount })
  }
  settle() { if (this.wanted > lastGrant(this.hold)) this.raise(this.wanted) }
  cancel() {
    this.canceled = true
    if (this.wrote || this.over || !this.link.writable || this.hold.state !== 'OPEN') return
    this.wrote = true
    this.link.append(KIND.CANCEL, 'cancel', { order_seq: BigInt(this.seq) })
  }
  opened() {
    if (this.canceled) this.cancel()
    if (!this.over) this.resume()
    this.settle()
  }
}
export { priceOf }
