// The consumer face: accounts, invocations, subscriptions (RFC 0009).
import { createHmac } from 'node:crypto'
import { orderPrice, sumOf } from './amounts.ts'
import type { Listing, Way } from './catalog.ts'
import { eq, hex, idTime, max, min, multihash, need, now, placeAllowed, refuse, sha256 } from './core.ts'
import { Execution, STATE, type End, type Prover } from './execution.ts'
import type { GrpcServer, ServerCall } from './grpc.ts'
import { message } from './grpc.ts'
import type { Link } from './link.ts'
import { claimed, credited, lastGrant, type Hold } from './log.ts'
import { cutProblem, Placed, problemOf, type Finder, type Placer } from './orders.ts'
import { decode, encode } from './proto.ts'
import { fromHex } from './store.ts'
import { checkInput } from './schema.ts'
import { EVENT_BYTES, eventSize, sameInvocation } from './semantics.ts'

const RETENTION = 604800000n, FRAME = 262144
const HOLD = { OPEN: 1, IN_DOUBT: 2, CHARGED: 3, REJECTED: 4, EXPIRED: 5 }
const terminal = (s: number) => s >= STATE.COMPLETED

export interface Account { name: string; token: Buffer; budget: bigint; reserved: bigint; spent: bigint; invocations: Map<string, Invocation> }
export interface ConsumerHost extends Prover, Finder {
  grid: string; place: string; asset: string; scale: number; draining: boolean; secret: Buffer
  catalog: any
  runOf(name: string): any
  place_(p: Placed): void
  keep(line: object): void
  gridName(fingerprint: Buffer): string
}

export class Invocation implements Placer {
  state = STATE.SUBMITTED
  createdAt = now(); endedAt = 0n
  items: any[] = []
  outcome: any = null
  charged = 0n
  private finalEnd: End | null = null
  private result: any = null
  private gapProblem: any = null
  private waiters = new Set<() => void>()
  private requests = 0n
  private kept: any = null
  private doubt = false
  private released = false
  exec: Execution | null = null
  placed: Placed | null = null
  deadline: bigint
  private canceled = false
  constructor(readonly host: ConsumerHost, readonly account: Account, readonly request: any, readonly listing: Listing, readonly way: Way | undefined) {
    this.deadline = this.createdAt + (request.timeout_ms || 60000n)
  }
  get id(): string { return this.request.id }
  private get hold(): Hold | undefined { return this.placed?.hold }
  changed(): Promise<void> { return new Promise(r => { this.waiters.add(r) }) }
  listeners = new Set<() => void>()
  private notify() { const w = [...this.waiters]; this.waiters.clear(); for (const f of w) f(); for (const f of this.listeners) f() }

  begin(order?: any) {
    const r = this.request, input = { media_type: r.input?.media_type ?? '', data: r.input?.data ?? Buffer.alloc(0) }
    if (order) {
      this.placed = new Placed(this.host, this.way!.link, order, input.data, this, true)
      this.host.place_(this.placed)
      this.state = STATE.WORKING
    } else {
      const nonce = nonceOf(this.host.secret, this.account.name, this.id)
      this.exec = new Execution(this.host, { offer: this.listing.offer.offer, offerDigest: this.listing.offer.digest, run: this.host.runOf(this.listing.offer.offer.name), input,
        inputDigest: multihash(nonce, input.data), nonce, prices: this.listing.offer.offer.prices, maxCharge: r.max_charge, deadline: this.deadline }, this)
      this.exec.start()
    }
  }
  // ---- Source ----
  grant() { return this.request.max_charge }
  allows(price: bigint) { return price <= this.request.max_charge }
  started() { this.state = STATE.WORKING }
  partial(q: bigint[]) { this.charged = this.hold ? this.cost() : sumOf(this.listing.offer.offer.prices, q) }
  needGrant(amount: bigint) { const p = this.placed!; p.raise(max(amount, 2n * lastGrant(p.hold))) }
  event(e: any) {
    if (this.outcome) { if (e.result && e.number > 0n) return; return }
    if (e.number > 0n) this.state = e.input_request ? STATE.INPUT_REQUIRED : STATE.WORKING
    if (e.input_request && e.input_request.request > this.requests) this.requests = e.input_request.request
    const clean = { ...e, order_seq: 0n, $raw: undefined }
    if (e.result) { this.result = e.result; this.settle() }
    else if (e.gap) { if (e.gap.last === 0n) { this.gapProblem = e.gap.problem ?? problemOf('EVENTS_GONE', 'Events are gone.'); this.settle() } this.items.push(clean) }
    else if (e.number > 0n || this.waiters.size || this.listeners.size) this.items.push(clean)
    this.notify()
  }
  end(e: End) {
    if (!this.finalEnd) this.finalEnd = e
    this.charged = this.placed ? this.cost() : sumOf(this.listing.offer.offer.prices, e.quantities)
    if (this.exec) this.release()
    this.settle()
  }
  ended() { this.charged = this.cost(); if (this.hold!.state !== 'OPEN') this.release() }
  rejected(problem: any) {
    this.release()
    this.finish(this.state === STATE.INPUT_REQUIRED ? STATE.FAILED : STATE.REJECTED, problem)
  }
  expired() {
    this.charged = this.cost(); this.release()
    this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The order has expired.', { deadline: this.deadline }))
  }
  private cost(): bigint {
    const h = this.hold!, sound = h.claims.filter(c => !c.refused).at(-1)?.amount ?? 0n
    return max(0n, min(sound, claimed(h) - credited(h)))
  }
  credited() { const before = this.charged; this.charged = this.cost(); if (this.released) this.account.spent += this.charged - before; if (this.outcome) this.outcome.receipt = this.receipt() }
  private release() {
    if (this.released) return
    this.released = true
    this.account.reserved -= this.request.max_charge
    this.account.spent += this.charged
    if (this.outcome) { this.outcome.receipt = this.receipt(); this.notify() }
  }
  private settleTimer?: NodeJS.Timeout
  private settle() {
    const e = this.finalEnd
    if (!e || this.outcome) return
    if (this.result) this.finish(e.state, e.problem, this.result)
    else if (this.gapProblem) this.finish(e.state, e.problem ?? this.gapProblem)
    else if (e.state !== STATE.COMPLETED) {
      if (e.quantities.length === 0 || e.problem && !this.placed) this.finish(e.state, e.problem)
      else this.settleTimer ??= setTimeout(() => { if (!this.outcome) this.finish(e.state, e.problem) }, 1000)
    } else this.settleTimer ??= setInterval(() => { if (this.outcome) clearInterval(this.settleTimer); else this.placed?.resume() }, 3000)
  }
  // Called often while it runs: what follows from the deadline.
  tick(t: bigint) {
    if (this.outcome || !this.placed || t < this.deadline + 2000n) return
    if (this.finalEnd) this.finish(this.finalEnd.state, this.finalEnd.problem ?? problemOf('EVENTS_GONE', 'The result did not come.'))
    else { this.doubt = true; this.finish(STATE.FAILED, problemOf('OUTCOME_UNKNOWN', 'The deadline passed and how the work ended is not known.', { deadline: this.deadline })) }
  }
  private finish(state: number, problem?: any, result?: any) {
    if (this.outcome) return
    clearTimeout(this.settleTimer)
    this.state = state
    this.endedAt = now()
    this.outcome = { id: this.id, state, output: result?.output, is_error: result?.is_error ?? false, problem: problem && cutProblem(problem), receipt: this.receipt() }
    this.host.keep({ end: this.id, account: this.account.name, outcome: hex(encode('Outcome', this.outcome)), at: String(this.endedAt) })
    this.notify()
  }
  // After a restart: what was kept, and an order that goes on; work of this grid's own is lost.
  restore(line: any, placed?: Placed) {
    this.createdAt = BigInt(line.created); this.deadline = BigInt(line.deadline); this.state = STATE.WORKING
    this.placed = placed ?? null
    if (line.outcome) { this.outcome = decode('Outcome', fromHex(line.outcome)); this.state = this.outcome.state; this.endedAt = BigInt(line.endedAt); this.charged = this.outcome.receipt?.charge ?? 0n }
    if (placed) { this.charged = this.cost(); if (placed.hold.state !== 'OPEN') this.release() }
    else {
      this.items.push({ order_seq: 0n, number: 0n, at: this.createdAt, gap: { first: 1n, last: 0n, problem: problemOf('EVENTS_GONE', 'Events were lost in a restart.') } })
      this.release()
      this.finish(STATE.FAILED, problemOf('EXECUTION_LOST', 'The node was restarted during the work.'))
    }
  }
  receipt(): any {
    const e = this.finalEnd, r = e?.record, h = this.hold, order = this.placed?.order
    const usage = r ? r.usage.filter((u: any) => u.quantity > 0n)
      : e && order ? order.prices.map((p: any, i: number) => ({ unit: p.unit, quantity: e.quantities[i] ?? 0n })).filter((u: any) => u.quantity > 0n).sort((a: any, b: any) => Buffer.compare(Buffer.from(a.unit), Buffer.from(b.unit))) : []
    const past = h?.state === 'OPEN' && now() > this.deadline
    return { charge: this.charged, asset: this.host.asset, scale: this.host.scale, usage, energy: r?.energy, place: r?.place ?? '',
      executed_by: r ? this.host.gridName(r.executor) : '', path: this.way ? [this.host.grid, ...this.host.catalog.pathNames(this.way.route)] : [this.host.grid], proof: e?.proof,
      hold: h ? past || this.doubt && h.state === 'OPEN' ? HOLD.IN_DOUBT : HOLD[h.state] : 0 }
  }
  status(): any {
    const rec = this.outcome?.receipt ?? this.receipt()
    return { id: this.id, offer: this.listing.ref, state: this.state, created_at: this.createdAt, ended_at: this.endedAt, reserved: this.released ? 0n : this.request.max_charge,
      receipt: { ...rec, hold: this.receipt().hold }, problem: this.outcome?.problem }
  }
  sendInput(reply: any) {
    const data: Buffer = reply?.payload?.data ?? Buffer.alloc(0), limit = 16384
    need(data.length <= limit && encode('Event', { input_reply: reply }).length <= EVENT_BYTES, 'INPUT_TOO_LARGE', 'The reply is too large.', { size: data.length, limit })
    const n: bigint = reply?.request ?? 0n
    need(!this.outcome && n !== 0n && (this.requests === 0n || n <= this.requests), 'INVALID_ARGUMENT', 'There is no such request to reply to.', { field: 'reply.request' })
    if (n < this.requests) return
    if (!this.kept || this.kept.request !== n) this.kept = reply
    if (this.exec) { this.exec.give(this.kept); if (this.state === STATE.INPUT_REQUIRED) this.state = STATE.WORKING }
    else this.placed!.send({ input_reply: this.kept })
  }
  cancel() {
    if (this.outcome || this.canceled) return
    this.canceled = true
    this.exec?.cancel(); this.placed?.cancel()
  }
  opened() { if (this.kept && !this.outcome) this.placed!.send({ input_reply: this.kept }) }
  // All output, as Call gathers it.
  gathered(): any {
    const chunks = this.items.filter(e => e.chunk).map(e => e.chunk.payload), out = this.outcome.output
    const parts = [...chunks, ...(out ? [out] : [])]
    const data = Buffer.concat(parts.map((p: any) => p?.data ?? Buffer.alloc(0)))
    if (!data.length && !out) return this.outcome
    return { ...this.outcome, output: { media_type: out?.media_type || chunks.at(-1)?.media_type || '', data } }
  }
}
export const nonceOf = (secret: Buffer, account: string, id: string) => createHmac('sha256', secret).update(`nonce\0${account}\0${id}`).digest()
export const textsFit = (path: string[], actors: string[], places: string[], others: string[]) => {
  const sum = [...path, ...actors, ...places, ...others].reduce((n, s) => n + 4 * [...s].length + 8, 0)
  need(sum <= 32768, 'PAYLOAD_TOO_LARGE', 'The texts of the order are too long.', { size: sum, limit: 32768 })
}
// The part of the checks before an order is placed that a consumer's order and a relay's have in common.
export function checkLane(link: Link, maximum: bigint, grant: bigint, share?: () => void) {
  need(!link.suspended, 'PEERING_SUSPENDED', 'The peering takes no orders.')
  const l = link.ledger, t = link.ownTerms
  need(l.gross(0) + maximum <= t.credit_limit, 'CREDIT_LIMIT', 'The order exceeds the credit limit.', {})
  need(l.unagreed(0) + grant <= t.max_unagreed, 'UNAGREED_LIMIT', 'The grant exceeds what may be unagreed.', {})
  need(l.lanes[0].open < Math.min(link.agreement.max_open_holds, link.peerLimits.orders), 'TOO_MANY_ORDERS', 'Too many orders are open.', {})
  share?.()
}
export function checkOrder(link: Link, order: any) {
  need(order.path.length <= link.peerLimits.hops, 'HOP_LIMIT', 'The path is too long for the next grid.', { hop_limit: link.peerLimits.hops })
  const at = max(now(), link.ledger.logs[0].at)
  const size = encode('Order', order).length + 64           // for what stands beside the order in its entry
  need(size <= 65536, 'PAYLOAD_TOO_LARGE', 'The order is too large for an entry.', { size, limit: 65536 })
  need(order.prices.length <= 16, 'PRICE_CHANGED', 'There are too many price lines.', { tariff_seq: order.tariff_seq })
  need(order.deadline > at, 'DEADLINE_EXCEEDED', 'The deadline has passed.', { deadline: order.deadline })
  need(order.deadline <= at + link.agreement.max_hold_ms, 'DEADLINE_TOO_LONG', 'The deadline is further ahead than the agreement allows.', { limit_ms: link.agreement.max_hold_ms })
}

export class Consumers {
  accounts: Account[] = []
  running = new Set<Invocation>()
  constructor(readonly host: ConsumerHost) {}
  account(call: ServerCall): Account {
    const m = /^Bearer (.+)$/.exec(String(call.headers.authorization ?? ''))
    const token = m && sha256(m[1])
    return this.accounts.find(a => token && eq(a.token, token)) ?? refuse('UNAUTHENTICATED', 'A valid token is needed.')
  }
  find(a: Account, id: string): Invocation { return a.invocations.get(id) ?? refuse('NOT_FOUND', 'There is no such invocation.') }

  // Table 1.
  start(a: Account, r: any): Invocation {
    const known = r && a.invocations.get(r.id)
    if (known) { sameInvocation(known.request, r); return known }
    const T = now(), h = this.host
    need(r, 'ID_INVALID', 'There is no invocation in the request.', { id: '' })
    const time = idTime(r.id)
    need(time >= T - RETENTION, 'ID_EXPIRED', 'The id is older than the retention.', { id: r.id, retention_ms: RETENTION })
    need(!h.draining, 'NODE_DRAINING', 'The node is shutting down.')
    need(this.running.size < 8192, 'NODE_BUSY', 'The node has no room.', { limit: 8192 })
    need(time <= T + 300000n, 'ID_INVALID', 'The time of the id lies too far ahead.', { id: r.id })
    const listing: Listing = h.catalog.resolve(r.offer), o = listing.offer.offer
    const data: Buffer = r.input?.data ?? Buffer.alloc(0)
    need(data.length <= 16384, 'INPUT_TOO_LARGE', 'The input is too large.', { size: data.length, limit: 16384 })
    const timeout = r.timeout_ms || 60000n
    need(timeout >= 1n && timeout <= 3600000n, 'DEADLINE_TOO_LONG', 'The timeout is not within 1 ms and an hour.', { limit_ms: 3600000 })
    need(r.max_charge >= 0n && r.first_grant >= 0n && r.first_grant <= r.max_charge, 'AMOUNT_INVALID', 'An amount is out of range.', { field: r.max_charge < 0n ? 'max_charge' : 'first_grant' })
    if (listing.own) checkInput(o.input_schema, data)
    const place = o.place || (listing.own ? h.place : ''), places = r.policy?.places ?? []
    need(placeAllowed(places, place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place })
    const way: Way | undefined = listing.own ? undefined : h.catalog.ways(listing.offer, { asset: h.asset, scale: h.scale })[0]
    const prices = way ? way.prices : o.prices, least = orderPrice(prices)
    const budget = (available: bigint) => ({ budget: a.budget, available, max_charge: r.max_charge })
    need(r.max_charge >= least, 'BUDGET_EXCEEDED', 'The maximum charge is below what one order costs.', budget(a.budget - a.reserved - a.spent))
    const media = r.input?.media_type || 'application/json'
    textsFit(way ? [h.grid] : [], [], places, [r.session, r.group, media])
    let order: any
    if (way) {
      const link = way.link
      const grant = o.charge_on === 2 ? r.max_charge : r.first_grant || r.max_charge
      checkLane(link, r.max_charge, grant)
      const nonce = nonceOf(h.secret, a.name, r.id)
      order = { id: r.id, offer_digest: listing.offer.digest, tariff_seq: BigInt(way.route.tariffSeq), prices, max_charge: r.max_charge, grant, deadline: T + timeout, hop_limit: 8,
        input: { media_type: media, digest: multihash(nonce, data), size: BigInt(data.length), encoding: '' },
        path: [h.grid], actors: [], policy: r.policy, nonce, session: r.session, group: r.group, account: hex(createHmac('sha256', h.secret).update('account\0' + a.name).digest().subarray(0, 16)) }
      checkOrder(link, order)
    }
    const available = a.budget - a.reserved - a.spent
    need(r.max_charge <= available, 'BUDGET_EXCEEDED', 'The budget is used up.', budget(available))
    const inv = new Invocation(h, a, r, listing, way)
    if (order) inv.deadline = order.deadline
    a.reserved += r.max_charge
    a.invocations.set(r.id, inv)
    this.running.add(inv)
    inv.begin(order)
    h.keep({ begin: r.id, account: a.name, request: hex(encode('Invocation', r)), created: String(inv.createdAt), deadline: String(inv.deadline), offer: hex(listing.offer.bytes), ref: listing.ref, own: listing.own,
      link: way?.link.name, seq: inv.placed?.seq, names: way?.route.names })
    return inv
  }
  restore(lines: any[], placedOf: (link: string, seq: number, i: Invocation) => Placed | undefined) {
    const ends = new Map(lines.filter(l => l.end).map(l => [l.account + l.end, l]))
    for (const l of lines) {
      const a = this.accounts.find(a => a.name === l.account), end = ends.get(l.account + l.begin)
      if (!a || !l.begin) continue
      const bytes = fromHex(l.offer), offer = { bytes, digest: multihash(bytes), offer: decode('Offer', bytes) }
      const listing = { ref: l.ref, offer, own: l.own, reach: true, version: 0n, grid: l.ref.split('/')[0] }
      const inv = new Invocation(this.host, a, decode('Invocation', fromHex(l.request)), listing, l.own ? undefined : { route: { names: l.names } } as any)
      a.invocations.set(l.begin, inv); a.reserved += inv.request.max_charge
      inv.restore({ ...l, outcome: end?.outcome, endedAt: end?.at }, l.own ? undefined : placedOf(l.link, l.seq, inv))
      this.running.add(inv)
    }
  }
  tick() { const t = now(); for (const i of this.running) { i.tick(t); if (i.outcome && i.status().reserved === 0n) this.running.delete(i) } }

  private async pump(call: ServerCall, inv: Invocation, after: bigint, type: string) {
    const live = inv.items.length
    for (let i = 0; !call.gone;) {
      while (i < inv.items.length && !call.gone) {
        const e = inv.items[i++]
        if (skipped(e, after, i > live)) continue
        call.write(encode(type, { event: { id: inv.id, event: e } }))
        await call.drained()
      }
      if (inv.outcome) { call.write(encode(type, { event: { id: inv.id, outcome: inv.outcome } })); call.end(); return }
      await inv.changed()
    }
  }
  private page(size: number) { need(size <= 100, 'INVALID_ARGUMENT', 'A page holds at most 100 items.', { field: 'page_size' }); return size || 20 }
  private mark(text: string) { return text + '.' + createHmac('sha256', this.host.secret).update('page\0' + text).digest('base64url').slice(0, 16) }
  private unmark(token: string): string {
    const text = token.slice(0, token.lastIndexOf('.'))
    need(token === '' || this.mark(text) === token, 'INVALID_ARGUMENT', 'The page token is not one of this node.', { field: 'page_token' })
    return text
  }
  private pageOf(all: Invocation[], r: any): [Invocation[], string] {
    const size = this.page(r.page_size), before = this.unmark(r.page_token)
    const sorted = all.filter(i => !before || i.id < before).sort((x, y) => x.id < y.id ? 1 : -1), page = sorted.slice(0, size)
    return [page, sorted.length > size ? this.mark(page.at(-1)!.id) : '']
  }

  serve(s: GrpcServer) {
    const unary = (path: string, req: string, res: string, fn: (a: Account, r: any) => any) =>
      s.handle(path, async call => {
        const a = this.account(call)
        call.write(encode(res, await fn(a, message(req, await call.request())))); call.end()
      })
    const I = 'InvocationService/'
    s.handle(I + 'Call', async call => {
      const a = this.account(call), inv = this.start(a, message('CallRequest', await call.request()).invocation)
      for (let size = 0, i = 0; ;) {
        for (; i < inv.items.length; i++) size += inv.items[i].chunk?.payload?.data.length ?? 0
        need(size <= 1048576, 'PAYLOAD_TOO_LARGE', 'The output is more than Call gathers.', { size, limit: 1048576 })
        if (inv.outcome || call.gone) break
        await inv.changed()
      }
      if (call.gone) return
      call.write(encode('CallResponse', { outcome: inv.gathered() })); call.end()
    })
    s.handle(I + 'Invoke', async call => {
      const a = this.account(call)
      await this.pump(call, this.start(a, message('InvokeRequest', await call.request()).invocation), 0n, 'InvokeResponse')
    })
    s.handle(I + 'Subscribe', async call => {
      const a = this.account(call), r = message('SubscribeRequest', await call.request())
      await this.pump(call, this.find(a, r.id), r.after_seq, 'SubscribeResponse')
    })
    s.handle(I + 'Stream', call => this.stream(call))
    unary(I + 'SendInput', 'SendInputRequest', 'SendInputResponse', (a, r) => { this.find(a, r.id).sendInput(r.reply); return {} })
    unary(I + 'Cancel', 'CancelRequest', 'CancelResponse', (a, r) => { const i = this.find(a, r.id); i.cancel(); return { status: i.status() } })
    unary(I + 'Get', 'InvocationServiceGetRequest', 'InvocationServiceGetResponse', (a, r) => ({ status: this.find(a, r.id).status() }))
    unary(I + 'List', 'ListRequest', 'ListResponse', (a, r) => {
      const [page, next_page_token] = this.pageOf([...a.invocations.values()].filter(i => !r.states.length || r.states.includes(i.state)), r)
      return { invocations: page.map(i => i.status()), next_page_token }
    })
    unary('AccountService/GetAccount', 'GetAccountRequest', 'GetAccountResponse', a =>
      ({ account: a.name, asset: this.host.asset, scale: this.host.scale, budget: a.budget, reserved: a.reserved, spent: a.spent }))
    unary('AccountService/ListCharges', 'ListChargesRequest', 'ListChargesResponse', (a, r) => {
      const [page, next_page_token] = this.pageOf([...a.invocations.values()], r)
      return { charges: page.map(i => ({ id: i.id, offer: i.listing.ref, amount: i.charged, at: i.endedAt })), next_page_token }
    })
    unary('CatalogService/Search', 'SearchRequest', 'SearchResponse', (_, r) => {
      need([...r.text].length <= 256, 'INVALID_ARGUMENT', 'The text is too long.', { field: 'text' })
      const size = this.page(r.page_size), from = Number(this.unmark(r.page_token) || 0), all = this.host.catalog.search(r), offers: any[] = []
      for (let i = from, bytes = 0; i < all.length && offers.length < size; i++) {        // a page has a mebibyte beyond its first offer
        bytes += encode('ListedOffer', all[i]).length + 8
        if (offers.length && bytes > 1048576) break
        offers.push(all[i])
      }
      const end = from + offers.length
      return { offers, next_page_token: end < all.length ? this.mark(String(end)) : '' }
    })
    unary('CatalogService/Get', 'CatalogServiceGetRequest', 'CatalogServiceGetResponse', (_, r) => ({ offer: this.host.catalog.get(r.ref) }))
    s.handle('CatalogService/Watch', async call => {
      this.account(call); message('WatchRequest', await call.request())
      const told = new Map<string, string>(), catalog = this.host.catalog
      let synced = false, scheduled = false
      const tell = () => {
        scheduled = false
        if (call.gone) { catalog.watchers.delete(later); return }
        const seen = new Set<string>()
        for (const l of catalog.listings().values()) if (l.reach) {
          const shown = catalog.show(l), print = hex(sha256(encode('ListedOffer', shown)))
          seen.add(l.ref)
          if (told.get(l.ref) !== print) { told.set(l.ref, print); call.write(encode('WatchResponse', { upsert: shown })) }
        }
        for (const ref of [...told.keys()]) if (!seen.has(ref)) { told.delete(ref); call.write(encode('WatchResponse', { removed: ref })) }
        if (!synced) { synced = true; call.write(encode('WatchResponse', { synced: true })) }
      }
      const later = () => { if (!scheduled) { scheduled = true; setTimeout(tell, 50) } }
      catalog.watchers.add(later)
      tell()
      call.onGone = () => catalog.watchers.delete(later)
    })
  }

  // Many invocations in frames both ways.
  private stream(call: ServerCall) {
    const a = this.account(call)
    interface Sub { inv: Invocation; i: number; after: bigint; live: number; window: number }
    const subs = new Map<string, Sub>(), refused: any[] = []
    let closed = false, writing = false, over = false
    const wake = () => { if (!writing && !over) { writing = true; setImmediate(write) } }
    const write = async () => {
      for (let progress = true; progress && !call.gone;) {
        progress = false
        let frame: any[] = [], size = 0
        const put = async (item: any) => {
          const n = encode('InvocationEvent', item).length + 8
          if (frame.length && size + n > FRAME - 64) { call.write(encode('StreamResponse', { events: frame })); frame = []; size = 0; await call.drained() }
          frame.push(item); size += n; progress = true
        }
        for (const r of refused.splice(0)) await put(r)
        for (const [id, s] of [...subs]) {
          while (s.i < s.inv.items.length) {
            const e = s.inv.items[s.i]
            if (skipped(e, s.after, s.i >= s.live)) { s.i++; continue }
            if (e.number > 0n) { if (s.window <= 0) break; s.window -= eventSize(e) }
            s.i++
            await put({ id, event: e })
          }
          if (s.i >= s.inv.items.length && s.inv.outcome) { await put({ id, outcome: s.inv.outcome }); if (subs.get(id) === s) { subs.delete(id); s.inv.listeners.delete(wake) } }
        }
        if (frame.length) { call.write(encode('StreamResponse', { events: frame })); await call.drained() }
      }
      writing = false
      if (closed && !subs.size && !refused.length && !over) { over = true; call.end() }
    }
    const watch = (inv: Invocation, after: bigint) => { subs.set(inv.id, { inv, i: 0, after, live: inv.items.length, window: 65536 }); inv.listeners.add(wake) }
    const attempt = (id: string, fn: () => void) => { try { fn() } catch (e: any) { if (!e.problem) throw e; refused.push({ id, refused: e.problem }) } }
    const take = (m: Buffer) => {
      if (over) return
      try {
        need(m.length <= FRAME, 'FRAME_TOO_LARGE', 'A frame is too large.', { size: m.length, limit: FRAME })
        const r = message('StreamRequest', m)
        for (const i of r.invocations) attempt(i.id, () => { const inv = this.start(a, i); if (!subs.has(inv.id)) watch(inv, 0n) })
        for (const s of r.subscriptions) attempt(s.id, () => watch(this.find(a, s.id), s.after_seq))
        for (const c of r.credits) { const s = subs.get(c.id); if (s && c.bytes > 0n) s.window += Number(c.bytes) }
        for (const i of r.inputs) attempt(i.id, () => this.find(a, i.id).sendInput(i.reply))
        for (const c of r.cancels) attempt(c.id, () => this.find(a, c.id).cancel())
        wake()
      } catch (e) { over = true; call.fail(e) }
    }
    call.onMessage = take
    for (const m of call.takeQueued()) take(m)
    const end = () => { closed = true; wake() }
    call.onEnd = end
    if (call.isEnded) end()
    call.onGone = () => { for (const s of subs.values()) s.inv.listeners.delete(wake); subs.clear() }
  }
}
const skipped = (e: any, after: bigint, live: boolean) =>
  e.gap ? e.gap.last !== 0n && e.gap.last <= after : e.number > 0n ? e.number <= after : !live
