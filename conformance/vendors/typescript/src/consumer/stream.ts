// InvocationService.Stream: many invocations in frames both ways, each with a window of its own (RFC 0009 sections 3.9 and 3.14).
import { need, Refusal } from '../core.ts'
import { message, type ServerCall } from '../grpc.ts'
import type * as Msg from '../messages.ts'
import { encode, type Draft } from '../proto.ts'
import { eventSize } from '../semantics.ts'
import type { Account } from './account.ts'
import type { Consumers } from './consumers.ts'
import { skipped } from './following.ts'
import type { Invocation } from './invocation.ts'

const FRAME = 262144, WINDOW = 65536

type Item = Draft<Msg.InvocationEvent>
// What is left to send of one invocation.
class Subscription {
  private next = 0
  private readonly live: number
  window = WINDOW
  constructor(readonly inv: Invocation, private readonly after: bigint) { this.live = inv.items.length }
  get done() { return this.next >= this.inv.items.length && !!this.inv.outcome }
  // The next event that the window allows.
  take(): Msg.Event | undefined {
    for (; this.next < this.inv.items.length; this.next++) {
      const e = this.inv.items[this.next]
      if (skipped(e, this.after, this.next >= this.live)) continue
      if (e.number > 0n && this.window <= 0) return undefined
      if (e.number > 0n) this.window -= eventSize(e)
      this.next++
      return e
    }
    return undefined
  }
}
// Items in frames as large as they may be.
class Frames {
  private items: Item[] = []
  private size = 0
  wrote = false
  constructor(private readonly call: ServerCall) {}
  async put(item: Item) {
    const n = encode('InvocationEvent', item).length + 8
    if (this.size + n > FRAME - 64) await this.flush()
    this.items.push(item); this.size += n; this.wrote = true
  }
  async flush() {
    if (!this.items.length) return
    this.call.write(encode('StreamResponse', { events: this.items }))
    this.items = []; this.size = 0
    await this.call.drained()
  }
}

export class InvocationStream {
  private subs = new Map<string, Subscription>()
  private refused: Item[] = []
  private closed = false                   // the consumer says nothing more
  private writing = false
  private over = false
  private readonly account: Account
  constructor(private readonly call: ServerCall, private readonly consumers: Consumers) { this.account = consumers.account(call) }

  run() {
    const call = this.call, end = () => { this.closed = true; this.wake() }
    call.onMessage = m => this.take(m)
    for (const m of call.takeQueued()) this.take(m)
    call.onEnd = end
    if (call.isEnded) end()
    call.onGone = () => { for (const s of this.subs.values()) s.inv.listeners.delete(this.wake); this.subs.clear() }
  }
  private take(m: Buffer) {
    if (this.over) return
    try {
      need(m.length <= FRAME, 'FRAME_TOO_LARGE', 'A frame is too large.', { size: m.length, limit: FRAME })
      this.obey(message('StreamRequest', m))
      this.wake()
    } catch (e) { this.over = true; this.call.fail(e) }
  }
  private obey(r: Msg.StreamRequest) {
    const a = this.account, all = this.consumers
    for (const i of r.invocations) this.attempt(i.id, () => {
      const inv = all.start(a, i)
      if (!this.subs.has(inv.id)) this.watch(inv, 0n)
    })
    for (const s of r.subscriptions) this.attempt(s.id, () => this.watch(all.find(a, s.id), s.after_seq))
    for (const c of r.credits) { const s = this.subs.get(c.id); if (s && c.bytes > 0n) s.window += Number(c.bytes) }
    for (const i of r.inputs) this.attempt(i.id, () => all.find(a, i.id).sendInput(i.reply))
    for (const c of r.cancels) this.attempt(c.id, () => all.find(a, c.id).cancel())
  }
  private attempt(id: string, fn: () => void) {
    try { fn() } catch (e) {
      if (!(e instanceof Refusal)) throw e
      this.refused.push({ id, refused: e.problem })
    }
  }
  private watch(inv: Invocation, after: bigint) {
    this.subs.set(inv.id, new Subscription(inv, after))
    inv.listeners.add(this.wake)
  }

  private wake = () => {
    if (this.writing || this.over) return
    this.writing = true
    setImmediate(() => this.write())
  }
  private async write() {
    for (let wrote = true; wrote && !this.call.gone;) wrote = await this.round()
    this.writing = false
    if (this.closed && !this.subs.size && !this.refused.length && !this.over) { this.over = true; this.call.end() }
  }
  private async round(): Promise<boolean> {
    const frames = new Frames(this.call)
    for (const r of this.refused.splice(0)) await frames.put(r)
    for (const s of [...this.subs.values()]) await this.send(s, frames)
    await frames.flush()
    return frames.wrote
  }
  private async send(s: Subscription, frames: Frames) {
    const id = s.inv.id
    for (let e = s.take(); e; e = s.take()) await frames.put({ id, event: e })
    if (!s.done) return
    await frames.put({ id, outcome: s.inv.outcome })
    if (this.subs.get(id) === s) { this.subs.delete(id); s.inv.listeners.delete(this.wake) }
  }
}
