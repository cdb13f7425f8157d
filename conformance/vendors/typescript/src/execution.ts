// Work of an own offer: metering against the grant, events, cancel and deadline, the execution record (RFC 0009, RFC 0010).
import { sumOf } from './amounts.ts'
import { MAX64, multihash, now, Refusal, refuse } from './core.ts'
import { encode } from './proto.ts'
import { energyOf } from './records.ts'
import { parseJson } from './schema.ts'

export const STATE = { SUBMITTED: 1, WORKING: 2, INPUT_REQUIRED: 3, COMPLETED: 5, FAILED: 6, CANCELED: 7, REJECTED: 8 }

export class Rejected extends Refusal {}      // by the work itself, which has done nothing

export interface Work {
  offer: any; offerDigest: Buffer; run: (c: Context, input: any) => Promise<any>
  input: { media_type: string; data: Buffer }; inputDigest: Buffer; nonce: Buffer
  prices: any[]; maxCharge: bigint; deadline: bigint
}
export interface End { state: number; quantities: bigint[]; usage: [string, bigint][]; problem?: any; proof?: any; record?: any }
// Who asked: a consumer of this grid, or the payer of an order.
export interface Source {
  allows(price: bigint): boolean          // may this much be charged now?
  grant(): bigint
  started(): void
  event(e: any): void
  partial(quantities: bigint[]): void
  needGrant(amount: bigint): void
  end(e: End): void
  rejected(problem: any): void
}
export interface Context {
  input: { media_type: string; data: Buffer }
  isError: boolean
  step(add: [string, bigint][], chunk?: any): Promise<void>
  sleep(ms: number): Promise<void>
  ask(prompt: string, schema: Buffer): Promise<any>
}
export interface Prover { prove(record: Buffer): Promise<any>; fingerprint: Buffer }

export class Execution implements Context {
  events: any[] = []                       // durable ones
  isError = false
  input: { media_type: string; data: Buffer }
  private usage = new Map<string, bigint>()
  private output: Buffer[] = []
  private aborted: Refusal | null = null
  private wakers = new Set<() => void>()
  private request = 0
  private reply: any = null
  private asking = false
  private asked = 0n
  private over = false
  private startedAt = 0n
  private timer?: NodeJS.Timeout
  constructor(readonly prover: Prover, readonly work: Work, readonly source: Source) { this.input = work.input }

  start() {
    this.startedAt = now()
    this.timer = setTimeout(() => this.abort(new Refusal('DEADLINE_EXCEEDED', 'The deadline passed before the work was done.', { deadline: this.work.deadline })),
      Number(this.work.deadline - now()))
    void this.run()
  }
  private async run() {
    let state = STATE.COMPLETED, problem: any, result: any
    await new Promise(r => setImmediate(r))     // the rest of the frame that brought the order comes first
    try {
      this.check()
      const schema = this.work.offer.input_schema.toString()
      const input = schema === '{}' || schema === '' ? null : parseJson(this.work.input.data)
      this.source.started()
      result = await this.work.run(this, input)
      await this.step([['order', 1n]])
    } catch (e: any) {
      if (e instanceof Rejected) { this.over = true; clearTimeout(this.timer); this.source.rejected(e.problem); return }
      if (!(e instanceof Refusal)) console.error(e)
      const r = e instanceof Refusal ? e : new Refusal('EXECUTION_FAILED', 'The work failed.')
      result = undefined; this.isError = false
      state = r.reason === 'CANCELED' ? STATE.CANCELED : STATE.FAILED
      problem = r.problem
      if (this.work.offer.charge_on === 2) this.usage.clear()
      const unit = state === STATE.CANCELED ? 'order.canceled' : 'order.failed'
      const next = this.with([[unit, 1n]])
      if (this.source.allows(this.price(next))) this.usage = next
    }
    this.over = true
    clearTimeout(this.timer)
    await this.finish(state, problem, result)
  }
  private async finish(state: number, problem: any, result: any) {
    if (result?.data.length) this.output.push(result.data)
    const w = this.work, usage = [...this.usage].filter(([, q]) => q > 0n).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const size = this.output.reduce((n, b) => n + b.length, 0)
    const record = { executor: this.prover.fingerprint, nonce: w.nonce, offer_digest: w.offerDigest, input_digest: w.inputDigest,
      output_digest: size ? multihash(w.nonce, ...this.output) : Buffer.alloc(0), state, usage: usage.map(([unit, quantity]) => ({ unit, quantity })),
      energy: energyOf(w.offer.energy, this.usage), place: w.offer.place, started_at: this.startedAt, ended_at: now() }
    const proof = await this.prover.prove(encode('ExecutionRecord', record))
    this.source.end({ state, quantities: this.quantities(this.usage), usage, problem, proof, record })
    this.emit({ result: { state, output: result, is_error: this.isError, problem } })
  }
  private emit(body: any) {
    const e = { order_seq: 0n, number: BigInt(this.events.length + 1), at: now(), ...body }
    this.events.push(e)
    this.source.event(e)
  }
  private quantities(usage: Map<string, bigint>) { return this.work.prices.map(p => usage.get(p.unit) ?? 0n) }
  private price(usage: Map<string, bigint>) { return sumOf(this.work.prices, this.quantities(usage)) }
  private with(add: [string, bigint][]) {
    const next = new Map(this.usage)
    for (const [u, n] of add) if (n > 0n) next.set(u, (next.get(u) ?? 0n) + n)
    return next
  }

  async step(add: [string, bigint][], chunk?: any) {
    this.check()
    const next = this.with(add), price = this.price(next)
    if ([...next.values()].some(q => q > MAX64)) refuse('AMOUNT_OVERFLOW', 'A quantity does not fit 63 bits.', { field: 'usage' })
    if (price > this.work.maxCharge) refuse('GRANT_EXHAUSTED', 'The next step would cost more than the maximum charge.', { grant: this.source.grant(), needed: price })
    while (!this.source.allows(price)) {
      if (this.asked !== price) {
        this.source.partial(this.quantities(this.usage))
        if (price > this.source.grant()) this.source.needGrant(price)
        this.asked = price
      }
      await this.woken()
      this.check()
    }
    this.usage = next
    if (chunk) { this.output.push(chunk.data); this.emit({ chunk: { payload: chunk } }) }
  }
  async sleep(ms: number) {
    const end = Date.now() + ms
    for (this.check(); Date.now() < end; this.check()) await this.woken(end - Date.now())
    if (ms === 0) { await new Promise(r => setImmediate(r)); this.check() }
  }
  async ask(prompt: string, schema: Buffer) {
    this.reply = null; this.asking = true
    this.emit({ input_request: { request: BigInt(++this.request), prompt, schema } })
    for (this.check(); !this.reply; this.check()) await this.woken()
    this.asking = false
    return this.reply
  }
  private check() { if (this.aborted) throw this.aborted }
  private woken(ms?: number): Promise<void> {
    return new Promise(done => {
      const w = () => { this.wakers.delete(w); clearTimeout(t); done() }
      const t = ms === undefined ? undefined : setTimeout(w, ms)
      this.wakers.add(w)
    })
  }

  // ---- from outside ----
  wake() { for (const w of [...this.wakers]) w() }
  askAgain() { this.asked = 0n; this.wake() }
  abort(why: Refusal) { if (!this.over && !this.aborted) { this.aborted = why; this.wake() } }
  cancel() { this.abort(new Refusal('CANCELED', 'The invocation was stopped at the caller\'s request.')) }
  give(reply: any) {
    if (this.asking && !this.reply && reply.request === BigInt(this.request)) { this.reply = reply.payload ?? { media_type: '', data: Buffer.alloc(0) }; this.wake() }
  }
}
