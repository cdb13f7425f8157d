// The two logs of a link: chaining, judging entries, holds, totals, taking groups (RFC 0007; RFC 0005 section 3.7).
import { sumOf, totalBytes } from './amounts.ts'
import { eq, hex, max, MAX64, min, nextHead, refuse } from './core.ts'
import { verifies, type SigningKey } from './keys.ts'
import { decode, encode } from './proto.ts'
import { keyId } from './keys.ts'

export type Side = 0 | 1                       // 0: the log that this node writes; 1: the other one
export const other = (s: Side): Side => (1 - s) as Side
export const KIND = { AGREEMENT: 1, TARIFF: 2, ORDER: 3, GRANT: 4, CANCEL: 5, REJECT: 6, CHARGE: 7, CREDIT: 8, REFUSE: 9, WITHDRAW: 10, EXPIRE: 11 }
const BODY = ['', 'agreement', 'tariff', 'order', 'grant', 'cancel', 'reject', 'charge', 'credit', 'refuse', 'withdraw', 'expire']

export interface Terms { claim_window_ms: bigint; max_hold_ms: bigint; max_skew_ms: bigint }
export interface Claim { seq: number; amount: bigint; quantities: bigint[]; final: boolean; refused: boolean; charge: any }
export interface Hold {
  payer: Side; seq: number; order: any; at: bigint; claimUntil: bigint
  state: 'OPEN' | 'CHARGED' | 'REJECTED' | 'EXPIRED'; endedBy: number
  grants: { seq: number; amount: bigint }[]; claims: Claim[]; credits: { seq: number; amount: bigint }[]
  canceled: boolean; reject?: any
}
export const claimed = (h: Hold) => h.claims.at(-1)?.amount ?? 0n
export const credited = (h: Hold) => h.credits.reduce((s, c) => s + c.amount, 0n)
export const lastGrant = (h: Hold) => h.grants.at(-1)!.amount
const agreedAt = (h: Hold, r: number): bigint => {
  let last = 0n, sound = 0n
  for (const c of h.claims) if (c.seq <= r) { last = c.amount; if (!c.refused) sound = c.amount }
  for (const c of h.credits) if (c.seq <= r) last -= c.amount
  return min(sound, last)
}

export interface Log {
  entries: Buffer[]; heads: Buffer[]; seen: number; at: bigint
  acked: number                                // the highest seq of the other log that this log's author has signed for
  total: bigint                                // what its author's last signature says
  firstSig: { seq: number; acked: number; bytes: Buffer }[]   // the first signature of each seq, in order
  lastSig?: { seq: number; acked: number; bytes: Buffer }
  tariffs: Map<number, any>                    // valid ones, the newest 2,048
  holds: Map<number, Hold>                     // of orders in this log
  touched: Map<number, Hold>                   // seq of a charge or credit in this log -> its hold
}
interface Lane { posted: bigint; pending: bigint; granted: bigint; earned: bigint; agreedNow: bigint; open: number }
export interface Taken { seq: number; entry: any; bytes: Buffer; void: string; hold?: Hold; head: Buffer }

const newLog = (genesis: Buffer): Log => ({ entries: [], heads: [genesis], seen: 0, at: 0n, acked: 0, total: 0n, firstSig: [], tariffs: new Map(), holds: new Map(), touched: new Map() })
const newLane = (): Lane => ({ posted: 0n, pending: 0n, granted: 0n, earned: 0n, agreedNow: 0n, open: 0 })

export class Ledger {
  readonly logs: [Log, Log]
  readonly lanes: [Lane, Lane] = [newLane(), newLane()]   // by payer
  private undo: (() => void)[] = []
  constructor(readonly genesis: Buffer, readonly terms: Terms) { this.logs = [newLog(genesis), newLog(genesis)] }

  seq(s: Side) { return this.logs[s].entries.length }
  head(s: Side, n = this.seq(s)) { return this.logs[s].heads[n] }

  // Runs fn; if it throws, nothing of it stays.
  atomic<T>(fn: () => T): T {
    this.undo = []
    try { return fn() } catch (e) { while (this.undo.length) this.undo.pop()!(); throw e } finally { this.undo = [] }
  }
  private put<T, K extends keyof T>(o: T, k: K, v: T[K]) { const was = o[k]; this.undo.push(() => { o[k] = was }); o[k] = v }
  private push<T>(list: T[], v: T) { list.push(v); this.undo.push(() => { list.pop() }) }
  private add<K, V>(m: Map<K, V>, k: K, v: V) { m.set(k, v); this.undo.push(() => { m.delete(k) }) }

  // Changes a hold and keeps the sums of its lane right.
  private change(h: Hold, fn: () => void) {
    const lane = this.lanes[h.payer], was = { ...lane }
    this.undo.push(() => Object.assign(lane, was))
    this.weigh(h, -1n); fn(); this.weigh(h, 1n)
  }
  private weigh(h: Hold, sign: bigint) {
    const lane = this.lanes[h.payer], c = claimed(h)
    lane.posted += sign * (c - credited(h))
    lane.agreedNow += sign * agreedAt(h, Infinity)
    if (h.state !== 'OPEN') return
    lane.pending += sign * (h.order.max_charge - c)
    lane.granted += sign * lastGrant(h)
    lane.earned += sign * c
    lane.open += Number(sign)
  }
  // posted + pending of a payer's lane, and what it has not agreed to as its last signature stands.
  gross(payer: Side) { const l = this.lanes[payer]; return l.posted + l.pending }
  unagreed(payer: Side) { const l = this.lanes[payer]; return l.granted - l.earned + l.posted - this.logs[payer].total }
  // The payer's agreed total at (its own last seq, r).
  total(payer: Side, r = this.seq(other(payer))): bigint {
    const log = this.logs[other(payer)]
    let t = this.lanes[payer].agreedNow
    const done = new Set<Hold>()
    for (let n = log.entries.length; n > r; n--) {
      const h = log.touched.get(n)
      if (h && !done.has(h)) { done.add(h); t += agreedAt(h, r) - agreedAt(h, Infinity) }
    }
    return t
  }

  // Appends one entry and gives it its effect; `void` in the answer names the rule that it breaks.
  apply(side: Side, bytes: Buffer, entry: any): Taken {
    const log = this.logs[side], seq = log.entries.length + 1
    let why = '', hold: Hold | undefined
    try { hold = this.judge(side, seq, entry) } catch (e) { why = (e as any).reason ?? (() => { throw e })() }
    this.push(log.entries, bytes)
    const head = nextHead(log.heads.at(-1)!, bytes)
    this.push(log.heads, head)
    this.put(log, 'seen', Number(entry.seen)); this.put(log, 'at', entry.at)
    return { seq, entry, bytes, void: why, hold: why ? undefined : hold, head }
  }

  private judge(side: Side, seq: number, e: any): Hold | undefined {
    if (e.kind >= 128) return
    if (e.kind < 1 || e.kind > 11) refuse('UNSUPPORTED_ENTRY')
    const b = e[BODY[e.kind]]
    if (!b) refuse('ENTRY_MALFORMED')
    switch (e.kind) {
      case KIND.AGREEMENT: if (seq !== 1) refuse('UNSUPPORTED_ENTRY'); return
      case KIND.TARIFF: {
        if (b.markup_num < 0n || b.fee < 0n || b.markup_den <= 0n || b.expires_at <= e.at) refuse('TARIFF_INVALID')
        const tariffs = this.logs[side].tariffs
        this.add(tariffs, seq, b)
        if (tariffs.size > 2048) { const [k, v] = tariffs.entries().next().value!; tariffs.delete(k)
          this.undo.push(() => { const rest = [...tariffs]; tariffs.clear(); for (const [a, c] of [[k, v] as [number, any], ...rest]) tariffs.set(a, c) }) }
        return
      }
      case KIND.ORDER: return this.order(side, seq, e, b)
      case KIND.REFUSE: return this.refusal(side, e, b)
      case KIND.WITHDRAW: return this.withdraw(side, b)
      default: return this.about(side, seq, e, b)
    }
  }
  private order(side: Side, seq: number, e: any, o: any): Hold {
    const units = o.prices.map((p: any) => p.unit)
    const ok = units.length <= 16 && new Set(units).size === units.length && o.prices.every((p: any) => p.num >= 0n && p.den > 0n) &&
      0n <= o.grant && o.grant <= o.max_charge &&
      o.deadline > e.at && o.deadline <= e.at + this.terms.max_hold_ms && o.deadline <= MAX64 - this.terms.claim_window_ms &&
      [...o.id].length === 36 && o.nonce.length >= 16 && o.nonce.length <= 32
    if (!ok) refuse('ORDER_INVALID')
    const h: Hold = { payer: side, seq, order: o, at: e.at, claimUntil: o.deadline + this.terms.claim_window_ms, state: 'OPEN', endedBy: 0,
      grants: [{ seq, amount: o.grant }], claims: [], credits: [], canceled: false }
    const lane = this.lanes[side], was = { ...lane }
    this.undo.push(() => Object.assign(lane, was))
    this.add(this.logs[side].holds, seq, h)
    this.weigh(h, 1n)
    return h
  }
  // Entries about an order: the two tables of section 3.7.
  private about(side: Side, seq: number, e: any, b: any): Hold {
    const byPayer = e.kind === KIND.GRANT || e.kind === KIND.CANCEL || e.kind === KIND.EXPIRE
    const n = Number(b.order_seq), seen = Number(e.seen)
    const h = this.logs[byPayer ? side : other(side)].holds.get(n)
    if (!h || (byPayer ? n >= seq : n > seen)) return refuse('ORDER_UNKNOWN')
    const s = h.state, late = () => { if (h.endedBy <= seen) refuse('ORDER_ENDED') }
    const end = (state: Hold['state']) => { this.put(h, 'state', state); this.put(h, 'endedBy', seq) }
    switch (e.kind) {
      case KIND.GRANT:
        if (s === 'EXPIRED') refuse('ORDER_ENDED')
        if (s !== 'OPEN') late()
        if (b.amount <= lastGrant(h) || b.amount > h.order.max_charge) refuse('GRANT_INVALID')
        this.change(h, () => this.push(h.grants, { seq, amount: b.amount }))
        return h
      case KIND.CANCEL:
        if (s === 'EXPIRED') refuse('ORDER_ENDED')
        if (s !== 'OPEN') late(); else this.put(h, 'canceled', true)
        return h
      case KIND.REJECT:
        if (s === 'EXPIRED') refuse('CHARGE_EXPIRED')
        if (s !== 'OPEN') refuse('ORDER_ENDED')
        if (h.claims.length) refuse('REJECT_AFTER_CHARGE')
        this.change(h, () => { end('REJECTED'); this.put(h, 'reject', b) })
        return h
      case KIND.CHARGE: {
        if (s === 'EXPIRED') refuse('CHARGE_EXPIRED')
        if (s !== 'OPEN') refuse('CHARGE_AFTER_END')
        const q: bigint[] = b.quantities, last = h.claims.at(-1)
        if (q.length !== h.order.prices.length || q.some(x => x < 0n)) refuse('CHARGE_ARITHMETIC')
        if (last && q.some((x, i) => x < last.quantities[i])) refuse('CHARGE_DECREASED')
        const grant = h.grants.reduce((g, x) => x.seq <= seen ? max(g, x.amount) : g, 0n)
        if (b.amount < 0n || b.amount > grant) refuse('CHARGE_BEYOND_GRANT')
        if (b.amount !== sumOf(h.order.prices, q)) refuse('CHARGE_ARITHMETIC')
        this.change(h, () => {
          this.push(h.claims, { seq, amount: b.amount, quantities: q, final: b.final, refused: false, charge: b })
          if (b.final) end('CHARGED')
        })
        this.add(this.logs[side].touched, seq, h)
        return h
      }
      case KIND.CREDIT:
        if (s === 'REJECTED') refuse('CREDIT_INVALID')
        if (s === 'EXPIRED' && seen < h.endedBy) refuse('CHARGE_EXPIRED')
        if (b.amount < 1n || b.amount > claimed(h) - credited(h)) refuse('CREDIT_INVALID')
        this.change(h, () => this.push(h.credits, { seq, amount: b.amount }))
        this.add(this.logs[side].touched, seq, h)
        return h
      default: {                                              // EXPIRE
        if (s === 'EXPIRED') refuse('ORDER_ENDED')
        if (e.at < h.claimUntil) refuse('EXPIRE_EARLY')
        if (s !== 'OPEN' && h.endedBy <= seen) refuse('ORDER_ENDED')
        this.change(h, () => {
          this.put(h, 'claims', h.claims.filter(c => c.seq <= seen))
          this.put(h, 'credits', h.credits.filter(c => c.seq <= seen))
          end('EXPIRED')
        })
        return h
      }
    }
  }
  private claimAt(author: Side, n: number): [Hold, Claim] | undefined {
    const h = this.logs[other(author)].touched.get(n), c = h?.claims.find(c => c.seq === n)
    return h && c && h.payer === author ? [h, c] : undefined
  }
  private refusal(side: Side, e: any, b: any): Hold | undefined {
    const n = Number(b.entry_seq)
    if (n < 1 || n > Number(e.seen)) refuse('REFUSE_INVALID')
    if (n <= this.logs[side].acked) refuse('REFUSE_LATE')
    const found = this.claimAt(side, n)
    if (!found) return
    if (found[1].refused) refuse('REFUSE_INVALID')
    this.change(found[0], () => this.put(found[1], 'refused', true))
    return found[0]
  }
  private withdraw(side: Side, b: any): Hold {
    const found = this.claimAt(side, Number(b.entry_seq))
    if (!found || !found[1].refused) return refuse('WITHDRAW_INVALID')
    this.change(found[0], () => this.put(found[1], 'refused', false))
    return found[0]
  }

  // Takes a group of one log (RFC 0005 section 3.7). `keys` may have signed; `clock` is now + max skew, or absent for own entries.
  take(side: Side, first: number, list: Buffer[], sig: any, sigBytes: Buffer, keys: Uint8Array[], clock?: bigint): Taken[] {
    const log = this.logs[side], n = log.entries.length, m = this.seq(other(side))
    if (list.length && (first < 1 || first > n + 1)) refuse('LOG_GAP', 'Entries do not follow the last one held.', { expected: n + 1, got: first })
    const fresh = list.slice(list.length ? n + 1 - first : 0)
    const bad = (text: string): never => refuse('SIGNATURE_INVALID', text)
    if (sig.seq !== BigInt(n + fresh.length)) bad('A head signature names another seq than that of the last entry.')
    if (sig.acked < BigInt(log.acked) || sig.acked > BigInt(m)) bad('A head signature acknowledges less than before, or what was never sent.')
    const acked = Number(sig.acked)
    let head = log.heads[n]
    for (const b of fresh) head = nextHead(head, b)
    if (!eq(sig.head, head)) refuse('LOG_FORK', 'A signed head differs from the one held.', { seq: n + fresh.length })
    if (!eq(sig.acked_head, this.head(other(side), acked))) refuse('LOG_FORK', 'A signed head differs from the one held.', { seq: acked })
    if (!rightSignature(this.genesis, sig, keys)) bad('A head signature is not by a signing key of its side, or does not fit.')
    const taken: Taken[] = []
    const least = Math.max(log.seen, log.acked)
    for (const bytes of fresh) {
      let e: any
      if (bytes.length > 65536) refuse('ENTRY_MALFORMED', 'An entry is too large.', { field: 'entry' })
      try { e = decode('Entry', bytes) } catch { refuse('ENTRY_MALFORMED', 'An entry does not decode.', { field: 'entry' }) }
      const low = Math.max(log.seen, least)
      if (e.seen < BigInt(low) || e.seen > BigInt(m)) refuse('SEEN_INVALID', 'The seen of an entry fell or lies above the other log.', { seen: e.seen, before: low, last: m })
      if (e.at < log.at) refuse('AT_DECREASED', 'The clock of an entry fell.', { at: e.at, before: log.at })
      if (clock !== undefined && e.at > clock) refuse('CLOCK', 'The clock of an entry leads too far.', { at: e.at, now: Date.now(), max_skew_ms: this.terms.max_skew_ms })
      taken.push(this.apply(side, bytes, e))
    }
    if (acked < log.seen) bad('A head signature acknowledges less than the last entry has seen.')
    const total = this.total(side, acked)
    if (!eq(sig.agreed_total, totalBytes(total))) refuse('TOTAL_MISMATCH', 'The signed total is not what both logs give.',
      { seq: n + fresh.length, acked, expected: total, got: BigInt.asIntN(128, BigInt('0x' + hex(sig.agreed_total))) })
    this.signed(side, { seq: n + fresh.length, acked, bytes: sigBytes }, total)
    return taken
  }
  private signed(side: Side, s: { seq: number; acked: number; bytes: Buffer }, total: bigint) {
    const log = this.logs[side]
    this.put(log, 'acked', s.acked); this.put(log, 'total', total); this.put(log, 'lastSig', s)
    if ((log.firstSig.at(-1)?.seq ?? -1) < s.seq) this.push(log.firstSig, s)
  }
  // Signs the own log as it stands, acknowledging all of the other one.
  sign(key: SigningKey, session: Buffer): { seq: number; acked: number; bytes: Buffer } {
    const seq = this.seq(0), acked = this.seq(1), total = this.total(0)
    const s: any = { seq: BigInt(seq), head: this.head(0), acked: BigInt(acked), acked_head: this.head(1), agreed_total: totalBytes(total), session }
    s.signatures = [{ key_id: key.id, value: key.sign(signedBytes(this.genesis, s)) }]
    const made = { seq, acked, bytes: encode('HeadSignature', s) }
    this.signed(0, made, total)
    return made
  }
}

const u64 = (n: bigint): Buffer => {
  if (n < 0n || n >= 1n << 64n) refuse('INVALID_ARGUMENT', 'A number does not fit 64 bits.')
  const b = Buffer.alloc(8); b.writeBigUInt64BE(n); return b
}
export function signedBytes(genesis: Uint8Array, s: any): Buffer {
  for (const h of [genesis, s.session, s.head, s.acked_head]) if (h.length !== 32) refuse('INVALID_ARGUMENT', 'A hash does not have 32 bytes.')
  return Buffer.concat([Buffer.from('intertie/v1/link\0'), genesis, s.session, u64(s.seq), s.head, u64(s.acked), s.acked_head, s.agreed_total])
}
// Step 6: form of the signature, and every known key's signature right, at least one of them.
export function rightSignature(genesis: Uint8Array, s: any, keys: Uint8Array[]): boolean {
  if (s.agreed_total.length !== 16 || s.session.length !== 32 || s.signatures.length < 1 || s.signatures.length > 8) return false
  let data: Buffer
  try { data = signedBytes(genesis, s) } catch { return false }
  const known = new Map(keys.map(k => [hex(keyId(k)), k]))
  let right = 0
  for (const x of s.signatures) {
    const k = known.get(hex(x.key_id))
    if (!k) continue
    if (!verifies(k, data, x.value)) return false
    right++
  }
  return right > 0
}
