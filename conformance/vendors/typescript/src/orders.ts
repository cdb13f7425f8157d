// Orders that peers place here. A relay is an Order whose work is a Placed (RFC 0009, RFC 0011).
import { down, up, sumOf, type Rate } from './amounts.ts'
import { max, min, nothing, now, Refusal } from './core.ts'
import { cutProblem, problemOf } from './errors.ts'
import { Execution, failed, STATE, type End, type Source } from './execution.ts'
import { claimed, lastGrant, type Hold } from './holds.ts'
import type { Link } from './link.ts'
import type * as Msg from './messages.ts'
import { Placed } from './placed.ts'
import type { Draft } from './proto.ts'
import { eventSize, FIRST_WINDOW } from './semantics.ts'

export class Order implements Source {
  state: 'waiting' | 'running' | 'ended' = 'waiting'
  sink: Execution | Placed | null = null
  rate: Rate | null = null                  // of a relayed order
  cancelAsked = false
  private window = FIRST_WINDOW
  private next = 0
  private paused = false                    // after a reopening, until the payer resumes
  private final: { end: End } | { reject: Msg.Problem } | null = null
  private lacks = 0n                        // what was asked upstream and not granted yet
  constructor(readonly link: Link, readonly hold: Hold, public input: Buffer, readonly waiting: () => bigint) {}
  private tell(body: Draft<Msg.Event>) { this.link.event({ order_seq: BigInt(this.seq), at: now(), ...body }) }
  get seq() { return this.hold.seq }
  get order() { return this.hold.order }
  private get open() { return this.hold.state === 'OPEN' }

  // ---- Source ----
  grant() { return lastGrant(this.hold) }
  // Orders that wait do no work yet and leave their room to those that run.
  room() { return this.link.ledger.unagreed(1) - this.waiting() <= this.link.peerTerms.max_unagreed }
  allows(price: bigint) {
    const { grants } = this.hold
    return price <= this.grant() && (price <= max(grants[0].amount, claimed(this.hold)) || this.room())
  }
  started() {}
  partial(q: bigint[]) {
    if (!this.link.writable || !this.open) return
    const last = this.charged(), quantities = this.rate ? this.convert(q) : q, amount = sumOf(this.order.prices, quantities)
    const grown = quantities.some((x, i) => x !== last[i]) && !quantities.some((x, i) => x < last[i])
    if (grown && this.allows(amount)) this.link.append({ charge: { order_seq: BigInt(this.seq), quantities, amount } })
  }
  // The quantities of the last charge.
  private charged(): bigint[] { return this.hold.claims.at(-1)?.quantities ?? this.order.prices.map(() => 0n) }
  needGrant(amount: bigint) {
    if (this.rate) { this.lacks = amount; amount = min(up(amount, this.rate), this.order.max_charge) }
    this.tell({ grant_needed: { amount } })
  }
  end(e: End) { this.finish({ end: e }) }
  rejected(problem: Msg.Problem) { this.finish({ reject: cutProblem(problem) }) }
  expired() {
    const { deadline } = this.order
    this.end(failed(problemOf('OUTCOME_UNKNOWN', 'The order placed downstream has expired.', { deadline })))
  }
  private finish(how: NonNullable<Order['final']>) {
    this.state = 'ended'
    this.input = nothing
    this.final ??= how
    this.write()
  }

  // Quantities of the upstream lines from those of the downstream ones; a line that only upstream has is read from the record.
  private convert(q: bigint[], record?: Msg.ExecutionRecord): bigint[] {
    const below = this.sink instanceof Placed ? this.sink.order.prices : []
    return this.order.prices.map(p => {
      const i = below.findIndex(b => b.unit === p.unit)
      return i >= 0 ? q[i] ?? 0n : record?.usage.find(u => u.unit === p.unit)?.quantity ?? 0n
    })
  }
  // Writes the end that is known, as soon as the link allows and if the hold still is.
  write() {
    const f = this.final
    if (!f || !this.link.writable || !this.open) return
    if ('end' in f) this.writeCharge(f.end)
    else if (this.hold.claims.length) this.writeCharge(failed(f.reject))
    else this.writeReject(f.reject)
  }
  private writeReject(problem: Msg.Problem) {
    this.link.append({ reject: { order_seq: BigInt(this.seq), problem } })
    this.tell({ result: { state: STATE.REJECTED, problem } })
  }
  private writeCharge(e: End) {
    const { prices } = this.order, before = this.charged(), wanted = this.wanted(e), needed = sumOf(prices, wanted), grant = this.grant()
    const fits = needed <= grant, sound = fits && !wanted.some((x, i) => x < before[i])
    const beyond = () => failed(problemOf('GRANT_EXHAUSTED', 'The work cost more than was granted.', { grant, needed }))
    const { state, proof, problem } = fits ? e : beyond()
    const quantities = sound ? wanted : before, amount = sumOf(prices, quantities)
    this.link.append({ charge: { order_seq: BigInt(this.seq), quantities, amount, final: true, state, proof,
      problem: problem && cutProblem(problem) } })
  }
  private wanted(e: End): bigint[] {
    if (!e.quantities.length || this.rate && !e.proof) return this.charged()
    return this.rate ? this.convert(e.quantities, e.record) : e.quantities
  }

  // ---- events to the payer ----
  event(e: Msg.Event) {
    const relayed = !(this.sink instanceof Execution)           // a relay holds nothing back
    if (e.number === 0n || relayed) this.link.event({ ...e, order_seq: BigInt(this.seq) }); else this.pump()
  }
  private pump() {
    const x = this.sink
    if (!(x instanceof Execution)) return
    while (!this.paused && this.link.writable && this.window > 0 && this.next < x.events.length) this.sendDurable(x.events[this.next++])
  }
  private sendDurable(e: Msg.Event) {
    this.window -= eventSize({ ...e, $raw: undefined })
    this.link.event({ ...e, order_seq: BigInt(this.seq) })
  }
  private gap(first: bigint, reason: string) {
    this.tell({ gap: { first, last: 0n, problem: problemOf(reason, 'Durable events cannot be sent.') } })
  }
  fromPayer({ input_reply, resume, byte_credit }: Msg.Event) {
    const x = this.sink
    if (input_reply) {
      if (x instanceof Execution) x.give(input_reply); else x?.send({ input_reply })
    } else if (resume) this.resume(resume)
    else if (byte_credit) {
      if (byte_credit.bytes > 0n) this.window += Number(byte_credit.bytes)
      if (x instanceof Execution) this.pump(); else x?.credit(byte_credit.bytes)
    }
  }
  private resume({ after_seq, credit }: Msg.Resume) {
    const x = this.sink
    this.window = Number(credit)
    this.paused = false
    if (x instanceof Execution) { this.next = Math.min(Number(after_seq), x.events.length); this.pump() }
    else if (x) x.resume(after_seq, credit)
    else this.gap(after_seq + 1n, 'EVENTS_GONE')
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
    if (!this.open || this.state !== 'running' || !this.sink) return
    if (this.sink instanceof Execution) { this.sink.askAgain(); return }
    this.granted()
    if (this.lacks > 0n && this.rate && this.lacks > down(this.grant(), this.rate)) this.needGrant(this.lacks)
  }
  lost() { this.paused = true }
}
