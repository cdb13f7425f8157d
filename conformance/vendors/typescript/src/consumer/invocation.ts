// One invocation, from its start to its outcome: its events, its inputs, its money (RFC 0009).
import { createHmac } from 'node:crypto'
import { sumOf } from '../amounts.ts'
import type { Listing } from '../catalog/finding.ts'
import { hex, max, multihash, need, nothing, now } from '../core.ts'
import { cutProblem, problemOf } from '../errors.ts'
import { Execution, STATE, type End, type Prover, type Run } from '../execution.ts'
import { lastGrant, type Hold } from '../holds.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import { Placed, type Finder, type Placer } from '../placed.ts'
import type { NewOrder } from '../placing.ts'
import { decode, encode } from '../proto.ts'
import { EVENT_BYTES } from '../semantics.ts'
import { fromHex, type BeginLine, type EndLine } from '../store.ts'
import type { Account } from './account.ts'
import { costOf, gathered, receiptOf, type ReceiptHost, type Spending } from './receipt.ts'

const REPLY = 16384, ASK_AGAIN_MS = 3000, RESULT_MS = 1000

export interface InvocationHost extends Prover, Finder, ReceiptHost {
  secret: Buffer
  runOf(name: string): Run
  placeOrder(p: Placed): void
  keep(line: BeginLine | EndLine): void    // made durable
}
export const nonceOf = (secret: Buffer, account: string, id: string) =>
  createHmac('sha256', secret).update(`nonce\0${account}\0${id}`).digest()

export class Invocation implements Placer, Spending {
  state = STATE.SUBMITTED
  createdAt = now(); endedAt = 0n
  deadline: bigint
  items: Msg.Event[] = []                  // events, as subscribers are sent them
  outcome?: Msg.Outcome
  charged = 0n
  placed: Placed | null = null             // where another grid does the work
  finalEnd: End | null = null
  doubt = false
  readonly listeners = new Set<() => void>()
  private exec: Execution | null = null    // where this grid does it
  private result?: Msg.Result
  private gapProblem?: Msg.Problem
  private requests = 0n                    // number of the last request for input
  private reply?: Msg.InputReply           // kept, and sent again when the link reopens
  private released = false
  private canceled = false
  private waiters = new Set<() => void>()
  private settleTimer?: NodeJS.Timeout
  constructor(
    readonly host: InvocationHost, readonly account: Account, readonly request: Msg.Invocation,
    readonly listing: Listing, readonly names: string[],
  ) { this.deadline = this.createdAt + (request.timeout_ms || 60000n) }
  get id(): string { return this.request.id }
  private get hold(): Hold | undefined { return this.placed?.hold }
  private get prices(): Msg.PriceLine[] { return this.listing.offer.offer.prices }
  private get input(): Msg.Payload { return this.request.input ?? { media_type: '', data: nothing } }

  // ---- beginning ----
  work() {
    const { offer, digest } = this.listing.offer, { input, host } = this, nonce = nonceOf(host.secret, this.account.name, this.id)
    this.exec = new Execution(host, { offer, offerDigest: digest, run: host.runOf(offer.name), input, nonce,
      inputDigest: multihash(nonce, input.data), prices: offer.prices, maxCharge: this.request.max_charge, deadline: this.deadline }, this)
    this.exec.start()
  }
  place(link: Link, order: NewOrder) {
    this.placed = new Placed(this.host, link, order, this.input.data, this, true)
    this.host.placeOrder(this.placed)
    this.state = STATE.WORKING
  }
  // After a restart: what was kept, and an order that goes on; work of this grid's own is lost.
  restore(begin: BeginLine, end?: EndLine, placed?: Placed) {
    this.createdAt = BigInt(begin.created)
    this.deadline = BigInt(begin.deadline)
    this.state = STATE.WORKING
    this.placed = placed ?? null
    if (end) this.restoreEnd(end)
    if (placed) { this.ended(placed.hold); return }
    const lost = problemOf('EVENTS_GONE', 'Events were lost in a restart.')
    this.items.push({ order_seq: 0n, number: 0n, at: this.createdAt, gap: { first: 1n, last: 0n, problem: lost } })
    this.release()
    this.finish(STATE.FAILED, problemOf('EXECUTION_LOST', 'The node was restarted during the work.'))
  }

  private restoreEnd(end: EndLine) {
    const outcome = decode('Outcome', fromHex(end.outcome))
    this.outcome = outcome
    this.state = outcome.state
    this.endedAt = BigInt(end.at)
    this.charged = outcome.receipt?.charge ?? 0n
  }

  // ---- what the work or the order tells (Placer) ----
  grant() { return this.request.max_charge }
  allows(price: bigint) { return price <= this.request.max_charge }
  started() { this.state = STATE.WORKING }
  partial(q: bigint[]) { this.charged = this.hold ? costOf(this.hold) : sumOf(this.prices, q) }
  needGrant(amount: bigint) { const p = this.placed; p?.raise(max(amount, 2n * lastGrant(p.hold))) }
  event(e: Msg.Event) {
    if (this.outcome) return
    if (e.number > 0n) this.state = e.input_request ? STATE.INPUT_REQUIRED : STATE.WORKING
    if (e.input_request && e.input_request.request > this.requests) this.requests = e.input_request.request
    const clean = { ...e, order_seq: 0n, $raw: undefined }
    if (e.result) { this.result = e.result; this.settle() }
    else if (e.gap) { this.gap(e.gap); this.items.push(clean) }
    else if (e.number > 0n || this.waiters.size || this.listeners.size) this.items.push(clean)
    this.notify()
  }
  private gap(gap: Msg.Gap) {
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
  rejected(problem: Msg.Problem) {
    this.release()
    this.finish(this.state === STATE.INPUT_REQUIRED ? STATE.FAILED : STATE.REJECTED, problem)
  }
  expired() {
    this.charged = this.cost
    this.release()
    this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The order has expired.', { deadline: this.deadline }))
  }
  credited() {
    const before = this.charged
    this.charged = this.cost
    if (this.released) this.account.spent += this.charged - before
    this.amend()
  }
  opened() { if (this.reply && !this.outcome) this.placed?.send({ input_reply: this.reply }) }
  private get cost(): bigint { return this.hold ? costOf(this.hold) : this.charged }

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
    const { charge, hold } = present, known = this.outcome.receipt ?? present
    this.outcome.receipt = this.finalEnd ? present : { ...known, charge, hold }
  }
  // The outcome is there with the end and the result; what does not come is waited for, or asked for again.
  private settle() {
    const e = this.finalEnd
    if (!e || this.outcome) return
    if (this.result) this.finish(e.state, e.problem, this.result)
    else if (this.gapProblem) this.finish(e.state, e.problem ?? this.gapProblem)
    else if (e.state === STATE.COMPLETED) this.settleTimer ??= setInterval(() => this.askAgain(), ASK_AGAIN_MS)
    else if (e.quantities.length === 0 || e.problem && !this.placed) this.finish(e.state, e.problem)
    else this.settleTimer ??= setTimeout(() => this.finish(e.state, e.problem), RESULT_MS)
  }
  private askAgain() { if (this.outcome) clearInterval(this.settleTimer); else this.placed?.resume() }
  // Called often while it runs: what follows from the deadline.
  tick(t: bigint) {
    if (this.outcome || !this.placed || t < this.deadline + 2000n) return
    const { finalEnd: end, deadline } = this
    if (end) { this.finish(end.state, end.problem ?? problemOf('EVENTS_GONE', 'The result did not come.')); return }
    this.doubt = true
    this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The deadline passed and how the work ended is not known.', { deadline }))
  }
  private finish(state: number, problem?: Msg.Problem, result?: Msg.Result) {
    if (this.outcome) return
    clearTimeout(this.settleTimer)
    this.state = state
    this.endedAt = now()
    const outcome = { id: this.id, state, output: result?.output, is_error: result?.is_error ?? false,
      problem: problem && cutProblem(problem), receipt: this.receipt() }
    this.outcome = outcome
    this.host.keep({ end: this.id, account: this.account.name, outcome: hex(encode('Outcome', outcome)), at: String(this.endedAt) })
    this.notify()
  }

  // ---- what its consumer asks ----
  changed(): Promise<void> { return new Promise(r => { this.waiters.add(r) }) }
  private notify() { const w = [...this.waiters]; this.waiters.clear(); for (const f of w) f(); for (const f of this.listeners) f() }
  private receipt(): Msg.Receipt { return receiptOf(this.host, this) }
  get reserved(): bigint { return this.released ? 0n : this.request.max_charge }
  gathered(): Msg.Outcome | undefined { return this.outcome && gathered(this.items, this.outcome) }
  status(): Msg.InvocationStatus {
    const present = this.receipt(), receipt = { ...this.outcome?.receipt ?? present, hold: present.hold }
    return { id: this.id, offer: this.listing.ref, state: this.state, created_at: this.createdAt, ended_at: this.endedAt,
      reserved: this.reserved, receipt, problem: this.outcome?.problem }
  }
  sendInput(reply?: Msg.InputReply) {
    const size = reply?.payload?.data.length ?? 0, fits = size <= REPLY && encode('Event', { input_reply: reply }).length <= EVENT_BYTES
    need(fits, 'INPUT_TOO_LARGE', 'The reply is too large.', { size, limit: REPLY })
    const n = reply?.request ?? 0n, asked = n !== 0n && (this.requests === 0n || n <= this.requests)
    need(reply && !this.outcome && asked, 'INVALID_ARGUMENT', 'There is no such request to reply to.', { field: 'reply.request' })
    if (n < this.requests) return
    if (!this.reply || this.reply.request !== n) this.reply = reply
    if (this.exec) { this.exec.give(this.reply); if (this.state === STATE.INPUT_REQUIRED) this.state = STATE.WORKING }
    else this.placed?.send({ input_reply: this.reply })
  }
  cancel() {
    if (this.outcome || this.canceled) return
    this.canceled = true
    this.exec?.cancel(); this.placed?.cancel()
  }
}
