// One invocation, from its start to its outcome: its events, its inputs, its money (RFC 0009).
import { createHmac } from 'node:crypto'
import { sumOf } from '../amounts.ts'
import type { Listing } from '../catalog.ts'
import { hex, max, multihash, need, now } from '../core.ts'
import { Execution, STATE, type End, type Prover, type Work } from '../execution.ts'
import type { Link } from '../link.ts'
import { lastGrant, type Hold } from '../log.ts'
import { cutProblem, Placed, problemOf, type Finder, type Placer } from '../orders.ts'
import { decode, encode } from '../proto.ts'
import { EVENT_BYTES } from '../semantics.ts'
import { fromHex } from '../store.ts'
import type { Account } from './account.ts'
import { costOf, gathered, receiptOf, type ReceiptHost, type Spending } from './receipt.ts'

const REPLY = 16384

export interface InvocationHost extends Prover, Finder, ReceiptHost {
  secret: Buffer
  runOf(name: string): Work['run']
  placeOrder(p: Placed): void
  keep(line: object): void                 // made durable
}
export const nonceOf = (secret: Buffer, account: string, id: string) => createHmac('sha256', secret).update(`nonce\0${account}\0${id}`).digest()

export class Invocation implements Placer, Spending {
  state = STATE.SUBMITTED
  createdAt = now(); endedAt = 0n
  deadline: bigint
  items: any[] = []                        // events, as subscribers are sent them
  outcome: any = null
  charged = 0n
  placed: Placed | null = null             // where another grid does the work
  finalEnd: End | null = null
  doubt = false
  readonly listeners = new Set<() => void>()
  private exec: Execution | null = null    // where this grid does it
  private result: any = null
  private gapProblem: any = null
  private requests = 0n                    // number of the last request for input
  private reply: any = null                // kept, and sent again when the link reopens
  private released = false
  private canceled = false
  private waiters = new Set<() => void>()
  private settleTimer?: NodeJS.Timeout
  constructor(readonly host: InvocationHost, readonly account: Account, readonly request: any, readonly listing: Listing, readonly names: string[]) {
    this.deadline = this.createdAt + (request.timeout_ms || 60000n)
  }
  get id(): string { return this.request.id }
  private get hold(): Hold | undefined { return this.placed?.hold }
  private get prices(): any[] { return this.listing.offer.offer.prices }
  private get input() { return { media_type: this.request.input?.media_type ?? '', data: this.request.input?.data ?? Buffer.alloc(0) } }

  // ---- beginning ----
  work() {
    const { offer, digest } = this.listing.offer, nonce = nonceOf(this.host.secret, this.account.name, this.id), input = this.input
    this.exec = new Execution(this.host, { offer, offerDigest: digest, run: this.host.runOf(offer.name), input, inputDigest: multihash(nonce, input.data), nonce,
      prices: offer.prices, maxCharge: this.request.max_charge, deadline: this.deadline }, this)
    this.exec.start()
  }
  place(link: Link, order: any) {
    this.placed = new Placed(this.host, link, order, this.input.data, this, true)
    this.host.placeOrder(this.placed)
    this.state = STATE.WORKING
  }
  // After a restart: what was kept, and an order that goes on; work of this grid's own is lost.
  restore(line: any, placed?: Placed) {
    this.createdAt = BigInt(line.created); this.deadline = BigInt(line.deadline); this.state = STATE.WORKING
    this.placed = placed ?? null
    if (line.outcome) {
      this.outcome = decode('Outcome', fromHex(line.outcome)); this.state = this.outcome.state
      this.endedAt = BigInt(line.endedAt); this.charged = this.outcome.receipt?.charge ?? 0n
    }
    if (placed) { this.charged = costOf(placed.hold); if (placed.hold.state !== 'OPEN') this.release(); return }
    const lost = problemOf('EVENTS_GONE', 'Events were lost in a restart.')
    this.items.push({ order_seq: 0n, number: 0n, at: this.createdAt, gap: { first: 1n, last: 0n, problem: lost } })
    this.release()
    this.finish(STATE.FAILED, problemOf('EXECUTION_LOST', 'The node was restarted during the work.'))
  }

  // ---- what the work or the order tells (Placer) ----
  grant() { return this.request.max_charge }
  allows(price: bigint) { return price <= this.request.max_charge }
  started() { this.state = STATE.WORKING }
  partial(q: bigint[]) { this.charged = this.hold ? costOf(this.hold) : sumOf(this.prices, q) }
  needGrant(amount: bigint) { const p = this.placed!; p.raise(max(amount, 2n * lastGrant(p.hold))) }
  event(e: any) {
    if (this.outcome) return
    if (e.number > 0n) this.state = e.input_request ? STATE.INPUT_REQUIRED : STATE.WORKING
    if (e.input_request && e.input_request.request > this.requests) this.requests = e.input_request.request
    const clean = { ...e, order_seq: 0n, $raw: undefined }
    if (e.result) { this.result = e.result; this.settle() }
    else if (e.gap) { this.gap(e.gap); this.items.push(clean) }
    else if (e.number > 0n || this.waiters.size || this.listeners.size) this.items.push(clean)
    this.notify()
  }
  private gap(gap: any) {
    if (gap.last !== 0n) return
    this.gapProblem = gap.problem ?? problemOf('EVENTS_GONE', 'Events are gone.')
    this.settle()
  }
  end(e: End) {
    this.finalEnd ??= e
    this.charged = this.hold ? costOf(this.hold) : sumOf(this.prices, e.quantities)
    if (this.exec) this.release()
    this.settle()
  }
  ended(h: Hold) { this.charged = costOf(h); if (h.state !== 'OPEN') this.release() }
  rejected(problem: any) {
    this.release()
    this.finish(this.state === STATE.INPUT_REQUIRED ? STATE.FAILED : STATE.REJECTED, problem)
  }
  expired() {
    this.charged = costOf(this.hold!); this.release()
    this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The order has expired.', { deadline: this.deadline }))
  }
  credited() {
    const before = this.charged
    this.charged = costOf(this.hold!)
    if (this.released) this.account.spent += this.charged - before
    this.amend()
  }
  opened() { if (this.reply && !this.outcome) this.placed!.send({ input_reply: this.reply }) }

  // ---- ending ----
  private release() {
    if (this.released) return
    this.released = true
    this.account.reserved -= this.request.max_charge
    this.account.spent += this.charged
    if (this.outcome) { this.amend(); this.notify() }
  }
  // What the money did after the outcome. Of an end that was told before a restart the outcome alone knows the record.
  private amend() {
    if (!this.outcome) return
    const present = this.receipt()
    this.outcome.receipt = this.finalEnd ? present : { ...this.outcome.receipt, charge: present.charge, hold: present.hold }
  }
  // The outcome is there with the end and the result; what does not come is waited for, or asked for again.
  private settle() {
    const e = this.finalEnd
    if (!e || this.outcome) return
    if (this.result) this.finish(e.state, e.problem, this.result)
    else if (this.gapProblem) this.finish(e.state, e.problem ?? this.gapProblem)
    else if (e.state === STATE.COMPLETED) this.settleTimer ??= setInterval(() => { if (this.outcome) clearInterval(this.settleTimer); else this.placed?.resume() }, 3000)
    else if (e.quantities.length === 0 || e.problem && !this.placed) this.finish(e.state, e.problem)
    else this.settleTimer ??= setTimeout(() => { if (!this.outcome) this.finish(e.state, e.problem) }, 1000)
  }
  // Called often while it runs: what follows from the deadline.
  tick(t: bigint) {
    if (this.outcome || !this.placed || t < this.deadline + 2000n) return
    if (this.finalEnd) { this.finish(this.finalEnd.state, this.finalEnd.problem ?? problemOf('EVENTS_GONE', 'The result did not come.')); return }
    this.doubt = true
    this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The deadline passed and how the work ended is not known.', { deadline: this.deadline }))
  }
  private finish(state: number, problem?: any, result?: any) {
    if (this.outcome) return
    clearTimeout(this.settleTimer)
    this.state = state
    this.endedAt = now()
    this.outcome = { id: this.id, state, output: result?.output, is_error: result?.is_error ?? false, problem: problem && cutProblem(problem),
      receipt: this.receipt() }
    this.host.keep({ end: this.id, account: this.account.name, outcome: hex(encode('Outcome', this.outcome)), at: String(this.endedAt) })
    this.notify()
  }

  // ---- what its consumer asks ----
  changed(): Promise<void> { return new Promise(r => { this.waiters.add(r) }) }
  private notify() { const w = [...this.waiters]; this.waiters.clear(); for (const f of w) f(); for (const f of this.listeners) f() }
  private receipt(): any { return receiptOf(this.host, this) }
  get reserved(): bigint { return this.released ? 0n : this.request.max_charge }
  gathered(): any { return gathered(this.items, this.outcome) }
  status(): any {
    const present = this.receipt(), receipt = { ...this.outcome?.receipt ?? present, hold: present.hold }
    return { id: this.id, offer: this.listing.ref, state: this.state, created_at: this.createdAt, ended_at: this.endedAt,
      reserved: this.reserved, receipt, problem: this.outcome?.problem }
  }
  sendInput(reply: any) {
    const size: number = reply?.payload?.data?.length ?? 0
    need(size <= REPLY && encode('Event', { input_reply: reply }).length <= EVENT_BYTES, 'INPUT_TOO_LARGE', 'The reply is too large.', { size, limit: REPLY })
    const n: bigint = reply?.request ?? 0n
    const asked = n !== 0n && (this.requests === 0n || n <= this.requests)
    need(!this.outcome && asked, 'INVALID_ARGUMENT', 'There is no such request to reply to.', { field: 'reply.request' })
    if (n < this.requests) return
    if (!this.reply || this.reply.request !== n) this.reply = reply
    if (this.exec) { this.exec.give(this.reply); if (this.state === STATE.INPUT_REQUIRED) this.state = STATE.WORKING }
    else this.placed!.send({ input_reply: this.reply })
  }
  cancel() {
    if (this.outcome || this.canceled) return
    this.canceled = true
    this.exec?.cancel(); this.placed?.cancel()
  }
}
