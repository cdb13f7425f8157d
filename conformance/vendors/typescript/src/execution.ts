// Work of an own offer: metering against the grant, events, cancel and deadline, the execution record (RFC 0009, RFC 0010).
import { sumOf } from './amounts.ts'
import { byBytes, MAX64, multihash, nothing, now, Refusal, refuse } from './core.ts'
import type * as Msg from './messages.ts'
import { encode } from './proto.ts'
import { energyOf } from './records.ts'
import { parseJson, type Json } from './schema.ts'

export const STATE = { SUBMITTED: 1, WORKING: 2, INPUT_REQUIRED: 3, COMPLETED: 5, FAILED: 6, CANCELED: 7, REJECTED: 8 }

export class Rejected extends Refusal {}      // by the work itself, which has done nothing

export type Usage = [unit: string, quantity: bigint]
export type Run = (c: Context, input: Json) => Promise<Msg.Payload | undefined>
export interface Work {
  offer: Msg.Offer; offerDigest: Buffer; run: Run
  input: Msg.Payload; inputDigest: Buffer; nonce: Buffer
  prices: Msg.PriceLine[]; maxCharge: bigint; deadline: bigint
}
export interface End {
  state: number; quantities: bigint[]; usage: Usage[]; problem?: Msg.Problem; proof?: Msg.RecordProof; record?: Msg.ExecutionRecord
}
export const failed = (problem: Msg.Problem): End => ({ state: STATE.FAILED, quantities: [], usage: [], problem })
// Who asked: a consumer of this grid, or the payer of an order.
export interface Source {
  allows(price: bigint): boolean          // may this much be charged now?
  grant(): bigint
  started(): void
  event(e: Msg.Event): void
  partial(quantities: bigint[]): void
  needGrant(amount: bigint): void
  end(e: End): void
  rejected(problem: Msg.Problem): void
}
export interface Context {
  input: Msg.Payload
  isError: boolean
  step(add: Usage[], chunk?: Msg.Payload): Promise<void>
  sleep(ms: number): Promise<void>
  ask(prompt: string, schema: Buffer): Promise<Msg.Payload>
}
export interface Prover { prove(record: Buffer): Promise<Msg.RecordProof>; fingerprint: Buffer }

export class Execution implements Context {
  events: Msg.Event[] = []                 // durable ones
  isError = false
  input: Msg.Payload
  private usage = new Map<string, bigint>()
  private output: Buffer[] = []
  private aborted: Refusal | null = null
  private wakers = new Set<() => void>()
  private request = 0
  private reply: Msg.Payload | null = null
  private asking = false
  private asked = 0n
  private over = false
  private startedAt = 0n
  private timer?: NodeJS.Timeout
  constructor(readonly prover: Prover, readonly work: Work, readonly source: Source) { this.input = work.input }

  start() {
    const { deadline } = this.work, late = new Refusal('DEADLINE_EXCEEDED', 'The deadline passed before the work was done.', { deadline })
    this.startedAt = now()
    this.timer = setTimeout(() => this.abort(late), Number(deadline - now()))
    void this.run()
  }
  private async run() {
    await new Promise(r => setImmediate(r))     // the rest of the frame that brought the order comes first
    let result: Msg.Payload | undefined, why: Refusal | undefined
    try { result = await this.perform() } catch (e) { why = failure(e) }
    if (why && !(why instanceof Rejected)) this.chargeFailure(why)
    this.over = true
    clearTimeout(this.timer)
    if (why instanceof Rejected) this.source.rejected(why.problem)
    else await this.finish(why ? stateOf(why) : STATE.COMPLETED, why?.problem, result)
  }
  private async perform(): Promise<Msg.Payload | undefined> {
    this.check()
    const schema = this.work.offer.input_schema.toString()
    const input = schema === '{}' || schema === '' ? null : parseJson(this.work.input.data)
    this.source.started()
    const result = await this.work.run(this, input)
    await this.step([['order', 1n]])
    return result
  }
  private chargeFailure(why: Refusal) {
    this.isError = false
    if (this.work.offer.charge_on === 2) this.usage.clear()
    const next = this.with([[stateOf(why) === STATE.CANCELED ? 'order.canceled' : 'order.failed', 1n]])
    if (this.source.allows(this.price(next))) this.usage = next
  }
  private async finish(state: number, problem?: Msg.Problem, result?: Msg.Payload) {
    if (result?.data.length) this.output.push(result.data)
    const usage = [...this.usage].filter(([, q]) => q > 0n).sort(([a], [b]) => byBytes(a, b)), record = this.recordOf(state, usage)
    const proof = await this.prover.prove(encode('ExecutionRecord', record))
    this.source.end({ state, quantities: this.quantities(this.usage), usage, problem, proof, record })
    this.emit({ result: { state, output: result, is_error: this.isError, problem } })
  }
  private recordOf(state: number, used: Usage[]): Msg.ExecutionRecord {
    const w = this.work, usage = used.map(([unit, quantity]) => ({ unit, quantity }))
    const output_digest = this.output.some(b => b.length) ? multihash(w.nonce, ...this.output) : nothing
    return { executor: this.prover.fingerprint, nonce: w.nonce, offer_digest: w.offerDigest, input_digest: w.inputDigest, output_digest,
      state, usage, energy: energyOf(w.offer.energy, this.usage), place: w.offer.place, started_at: this.startedAt, ended_at: now() }
  }
  private emit(body: Partial<Msg.Event>) {
    const e = { order_seq: 0n, number: BigInt(this.events.length + 1), at: now(), ...body }
    this.events.push(e)
    this.source.event(e)
  }
  private quantities(usage: Map<string, bigint>) { return this.work.prices.map(p => usage.get(p.unit) ?? 0n) }
  private price(usage: Map<string, bigint>) { return sumOf(this.work.prices, this.quantities(usage)) }
  private with(add: Usage[]) {
    const next = new Map(this.usage)
    for (const [u, n] of add) if (n > 0n) next.set(u, (next.get(u) ?? 0n) + n)
    return next
  }

  async step(add: Usage[], chunk?: Msg.Payload) {
    this.check()
    const next = this.with(add), price = this.price(next), grant = this.source.grant()
    if ([...next.values()].some(q => q > MAX64)) refuse('AMOUNT_OVERFLOW', 'A quantity does not fit 63 bits.', { field: 'usage' })
    if (price > this.work.maxCharge)
      refuse('GRANT_EXHAUSTED', 'The next step would cost more than the maximum charge.', { grant, needed: price })
    for (; !this.source.allows(price); this.check()) {
      if (this.asked !== price) this.askFor(price)
      await this.woken()
    }
    this.usage = next
    if (chunk) { this.output.push(chunk.data); this.emit({ chunk: { payload: chunk } }) }
  }
  private askFor(price: bigint) {
    this.source.partial(this.quantities(this.usage))
    if (price > this.source.grant()) this.source.needGrant(price)
    this.asked = price
  }
  async sleep(ms: number) {
    const end = Date.now() + ms
    for (this.check(); Date.now() < end; this.check()) await this.woken(end - Date.now())
    if (ms === 0) { await new Promise(r => setImmediate(r)); this.check() }
  }
  async ask(prompt: string, schema: Buffer): Promise<Msg.Payload> {
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
  give(reply: Msg.InputReply) {
    if (!this.asking || this.reply || reply.request !== BigInt(this.request)) return
    this.reply = reply.payload ?? { media_type: '', data: nothing }
    this.wake()
  }
}
// Why work ended that threw.
function failure(e: unknown): Refusal {
  if (e instanceof Refusal) return e
  console.error(e)
  return new Refusal('EXECUTION_FAILED', 'The work failed.')
}
const stateOf = (why: Refusal) => why.reason === 'CANCELED' ? STATE.CANCELED : STATE.FAILED
