// The two logs of a link: chaining, totals, taking groups and signing (RFC 0007; RFC 0005 section 3.7).
import { totalBytes, totalOf } from './amounts.ts'
import { eq, nextHead, Refusal, refuse } from './core.ts'
import {
  agreedAt, newLane, newLog, other, type Hold, type Lane, type Log, type Side, type Signed, type Taken, type Terms,
} from './holds.ts'
import { Judge } from './judging.ts'
import type { SigningKey } from './keys.ts'
import type * as Msg from './messages.ts'
import { decodeOr, encode } from './proto.ts'
import { rightSignature, signedBytes } from './signature.ts'
import { Undo } from './undo.ts'

const ENTRY_BYTES = 65536

// Entries of one log that come with the signature of its author: decoded, and its bytes.
export interface Given { first: number; entries: Buffer[]; sig: Msg.HeadSignature; bytes: Buffer }

const badSignature = (text: string): never => refuse('SIGNATURE_INVALID', text)
const forked = (seq: number): never => refuse('LOG_FORK', 'A signed head differs from the one held.', { seq })

export class Ledger {
  readonly logs: [Log, Log]
  readonly lanes: [Lane, Lane] = [newLane(), newLane()]   // by payer
  private readonly undo = new Undo()
  private readonly judge: Judge
  constructor(readonly genesis: Buffer, readonly terms: Terms) {
    this.logs = [newLog(genesis), newLog(genesis)]
    this.judge = new Judge(this.logs, this.lanes, terms, this.undo)
  }

  seq(s: Side) { return this.logs[s].entries.length }
  head(s: Side, n = this.seq(s)) { return this.logs[s].heads[n] }
  // Runs fn; if it throws, nothing of it stays.
  atomic<T>(fn: () => T): T { return this.undo.atomic(fn) }

  // posted + pending of a payer's lane, and what it has not agreed to as its last signature stands.
  gross(payer: Side) { const l = this.lanes[payer]; return l.posted + l.pending }
  unagreed(payer: Side) { const l = this.lanes[payer]; return l.granted - l.earned + l.posted - this.logs[payer].total }
  // The payer's agreed total at (its own last seq, r).
  total(payer: Side, r = this.seq(other(payer))): bigint {
    const log = this.logs[other(payer)], later = new Set<Hold>()
    for (let n = log.entries.length; n > r; n--) {
      const h = log.touched.get(n)
      if (h) later.add(h)
    }
    let t = this.lanes[payer].agreedNow
    for (const h of later) t += agreedAt(h, r) - agreedAt(h, Infinity)
    return t
  }

  // Appends one entry and gives it its effect; `void` in the answer names the rule that it breaks.
  apply(side: Side, bytes: Buffer, entry: Msg.Entry): Taken {
    const log = this.logs[side], seq = log.entries.length + 1, judged = this.judged(side, seq, entry)
    const head = nextHead(log.heads[seq - 1], bytes)
    this.undo.push(log.entries, bytes)
    this.undo.push(log.heads, head)
    this.undo.put(log, 'seen', Number(entry.seen))
    this.undo.put(log, 'at', entry.at)
    return { seq, entry, bytes, head, ...judged }
  }
  private judged(side: Side, seq: number, entry: Msg.Entry): { void: string; hold?: Hold } {
    try { return { void: '', hold: this.judge.judge(side, seq, entry) } } catch (e) {
      if (!(e instanceof Refusal)) throw e
      return { void: e.reason }
    }
  }

  // Takes a group of one log (RFC 0005 section 3.7). `keys` may have signed; `clock` is now + max skew, or absent for own entries.
  take(side: Side, given: Given, keys: Uint8Array[], clock?: bigint): Taken[] {
    const log = this.logs[side], { sig } = given, acked = Number(sig.acked)
    const fresh = this.fresh(side, given), seq = log.entries.length + fresh.length
    this.checkSignature(side, fresh, sig, keys)
    const least = Math.max(log.seen, log.acked), taken: Taken[] = []
    for (const bytes of fresh) {
      const entry = readEntry(bytes)
      this.checkOrder(side, entry, Math.max(log.seen, least), clock)
      taken.push(this.apply(side, bytes, entry))
    }
    if (acked < log.seen) badSignature('A head signature acknowledges less than the last entry has seen.')
    const total = this.total(side, acked)
    if (!eq(sig.agreed_total, totalBytes(total))) refuse('TOTAL_MISMATCH', 'The signed total is not what both logs give.',
      { seq, acked, expected: total, got: totalOf(sig.agreed_total) })
    this.signed(side, { seq, acked, bytes: given.bytes }, total)
    return taken
  }
  // Those that are not held yet.
  private fresh(side: Side, { first, entries }: Given): Buffer[] {
    const next = this.seq(side) + 1
    if (!entries.length) return []
    if (first < 1 || first > next) refuse('LOG_GAP', 'Entries do not follow the last one held.', { expected: next, got: first })
    return entries.slice(next - first)
  }
  private checkSignature(side: Side, fresh: Buffer[], sig: Msg.HeadSignature, keys: Uint8Array[]) {
    const log = this.logs[side], seq = log.entries.length + fresh.length, acked = Number(sig.acked)
    if (sig.seq !== BigInt(seq)) badSignature('A head signature names another seq than that of the last entry.')
    if (sig.acked < BigInt(log.acked) || sig.acked > BigInt(this.seq(other(side))))
      badSignature('A head signature acknowledges less than before, or what was never sent.')
    if (!eq(sig.head, fresh.reduce(nextHead, this.head(side)))) forked(seq)
    if (!eq(sig.acked_head, this.head(other(side), acked))) forked(acked)
    if (!rightSignature(this.genesis, sig, keys)) badSignature('A head signature is not by a signing key of its side, or does not fit.')
  }
  private checkOrder(side: Side, { seen, at }: Msg.Entry, before: number, clock?: bigint) {
    const log = this.logs[side], last = this.seq(other(side))
    if (seen < BigInt(before) || seen > BigInt(last))
      refuse('SEEN_INVALID', 'The seen of an entry fell or lies above the other log.', { seen, before, last })
    if (at < log.at) refuse('AT_DECREASED', 'The clock of an entry fell.', { at, before: log.at })
    if (clock !== undefined && at > clock)
      refuse('CLOCK', 'The clock of an entry leads too far.', { at, now: Date.now(), max_skew_ms: this.terms.max_skew_ms })
  }
  private signed(side: Side, s: Signed, total: bigint) {
    const log = this.logs[side]
    this.undo.put(log, 'acked', s.acked)
    this.undo.put(log, 'total', total)
    this.undo.put(log, 'lastSig', s)
    if ((log.firstSig.at(-1)?.seq ?? -1) < s.seq) this.undo.push(log.firstSig, s)
  }
  // Signs the own log as it stands, acknowledging all of the other one.
  sign(key: SigningKey, session: Buffer): Signed {
    const seq = this.seq(0), acked = this.seq(1), total = this.total(0)
    const s = { seq: BigInt(seq), head: this.head(0), acked: BigInt(acked), acked_head: this.head(1), session,
      agreed_total: totalBytes(total) }
    const signatures = [{ key_id: key.id, value: key.sign(signedBytes(this.genesis, s)) }]
    const made = { seq, acked, bytes: encode('HeadSignature', { ...s, signatures }) }
    this.signed(0, made, total)
    return made
  }
}
function readEntry(bytes: Buffer): Msg.Entry {
  if (bytes.length > ENTRY_BYTES) refuse('ENTRY_MALFORMED', 'An entry is too large.', { field: 'entry' })
  return decodeOr('Entry', bytes, () => refuse('ENTRY_MALFORMED', 'An entry does not decode.', { field: 'entry' }))
}
