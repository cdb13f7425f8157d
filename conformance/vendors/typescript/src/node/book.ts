// The orders of one link, in both directions, and which of them an entry or an event is for (RFC 0009).
import { nothing, now } from '../core.ts'
import { problemOf } from '../errors.ts'
import { Execution } from '../execution.ts'
import type { Taken } from '../holds.ts'
import type { Link } from '../link.ts'
import type * as Msg from '../messages.ts'
import type { Order } from '../orders.ts'
import type { Placed } from '../placed.ts'

const KEPT_MS = 600000n                    // an order that was placed, after its end

export class Book {
  readonly orders = new Map<number, Order>()             // that the peer has placed here, by seq
  readonly placed = new Map<number, Placed>()            // that this grid has placed there, by seq
  readonly running = new Set<Order>()                    // orders whose work this grid does
  queue: Order[] = []                                    // orders that wait for room
  private inputs = new Map<number, Buffer>()             // of orders that are not looked at yet
  constructor(readonly link: Link, private readonly agreement?: Buffer) {}

  takeInputs(taken: Taken[], inputs: Msg.OrderInput[]) {
    const fresh = new Set(taken.filter(t => t.entry.order && t.hold).map(t => t.seq))
    for (const i of inputs) if (fresh.has(Number(i.order_seq))) this.inputs.set(Number(i.order_seq), i.data)
  }
  takeInput(seq: number): Buffer {
    const data = this.inputs.get(seq) ?? nothing
    this.inputs.delete(seq)
    return data
  }
  // Grants that orders ask for which wait.
  waiting(): bigint {
    return this.queue.reduce((n, q) => q.state === 'waiting' && q.hold.state === 'OPEN' ? n + q.grant() : n, 0n)
  }

  // Every kind of entry but ORDER.
  entry({ seq, entry: e }: Taken) {
    const order = (seq: bigint) => this.orders.get(Number(seq)), placed = (seq: bigint) => this.placed.get(Number(seq))
    if (e.grant) order(e.grant.order_seq)?.granted()
    else if (e.cancel) { const o = order(e.cancel.order_seq); if (o?.hold.canceled) o.cancel() }
    else if (e.expire) order(e.expire.order_seq)?.over()
    else if (e.reject) placed(e.reject.order_seq)?.rejected(e.reject)
    else if (e.charge) placed(e.charge.order_seq)?.charged(seq, e.charge)
    else if (e.credit) placed(e.credit.order_seq)?.placer.credited?.()
  }
  event(e: Msg.Event) {
    const seq = Number(e.order_seq)
    if (!(e.input_reply || e.resume || e.byte_credit)) { this.placed.get(seq)?.event(e); return }
    const o = this.orders.get(seq)
    if (o) o.fromPayer(e)
    else if (e.resume) {
      const problem = problemOf('EVENTS_GONE', 'Nothing is known of this order.')
      this.link.event({ order_seq: e.order_seq, at: now(), gap: { first: e.resume.after_seq + 1n, last: 0n, problem } })
    }
  }
  opened() {
    const { link, agreement } = this
    if (agreement && link.ledger.seq(0) === 0) link.append({ agreement: { agreement } })
    for (const o of this.orders.values()) o.opened()
    for (const p of this.placed.values()) { p.opened(); p.placer.opened?.() }
  }
  lost() { for (const o of this.orders.values()) o.lost() }
  // After a frame: room may have come for what waits.
  wake() {
    for (const o of this.running) if (o.state === 'running' && o.sink instanceof Execution) o.sink.wake(); else this.running.delete(o)
    for (const p of this.placed.values()) if (!p.over) p.settle()
  }
  tick(t: bigint) {
    const { link } = this
    link.tick()
    const may = link.writable || link.state === 'down' && link.everOpen
    for (const p of [...this.placed.values()]) {
      if (p.hold.state === 'OPEN' && p.hold.claimUntil <= t && may) {
        link.append({ expire: { order_seq: BigInt(p.seq) } })
        p.expire()
      } else if (p.hold.state !== 'OPEN' && p.hold.claimUntil + KEPT_MS < t) this.placed.delete(p.seq)
    }
    for (const o of this.queue) if (o.state === 'waiting' && o.order.deadline <= t)
      o.rejected(problemOf('DEADLINE_EXCEEDED', 'The order waited until its deadline.', { deadline: o.order.deadline }))
  }
}
