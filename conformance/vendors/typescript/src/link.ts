// One link: streams, opening, re-establishing, frames, flow and death (RFC 0005).
import { randomBytes } from 'node:crypto'
import { eq, max, need, now, Refusal, refuse, sessionOf } from './core.ts'
import type { Chain } from './identity.ts'
import { seal, TYPE, type SigningKey } from './keys.ts'
import { KIND, Ledger, rightSignature, type Side, type Taken } from './log.ts'
import { checkOpen, FEATURES, LIMITS, plan, readLimits } from './opening.ts'
import { decode, encode } from './proto.ts'
import { EVENT_BYTES, eventSize } from './semantics.ts'
import { checkCertificates } from './x509.ts'

export interface Wire { write(frame: Buffer): void; end(): void; cut(): void; readonly buffered: number }
export interface Stream { wire: Wire; dialled: boolean; ownOpen?: Buffer; gotOpen: boolean; closed: boolean; since: number }
export interface LinkHost {
  ownChain: Chain; ownKeys: Buffer[]; signingKey: SigningKey
  entry(link: Link, t: Taken, later: Taken[]): void                       // a new entry of the other log, once the link may write
  frame(link: Link, f: any): void                         // events and advertisements of a frame that holds
  inputs(link: Link, taken: Taken[], inputs: any[]): void // inputs beside new orders
  opened(link: Link): void
  lost(link: Link): void
  newChain(chain: Chain): void                            // that the peer's Open has brought
  record(link: Link, group: { side: Side; first: number; entries: Buffer[]; sig: Buffer; inputs: any[] }): void   // made durable
  inputOf(link: Link, seq: number): Buffer | undefined    // of an own order, for as long as it is kept
}
interface Group { first: number; entries: Buffer[]; sig: Buffer; inputs: any[] }

export class Link {
  readonly ledger: Ledger
  state: 'down' | 'opening' | 'catching' | 'open' = 'down'
  current: Stream | null = null
  everOpen = false
  peerLimits = readLimits(LIMITS)
  suspended = false
  private session: Buffer | null = null
  private sessionKeys: Uint8Array[] = []
  private peerSigned = false                              // a signature of this session has come
  private ownWholeAt = 0
  private otherWholeAt = 0
  private unprocessed: Taken[] = []
  private pending: { first: number; entries: Buffer[]; inputs: any[]; bytes: number } | null = null
  private groups: Group[] = []
  private outEvents: Buffer[] = []
  private outAds: Buffer[] = []
  private owesSignature = false
  private scheduled = false
  private heard = 0
  private pinged = 0
  private catchingSince = 0
  private pong = 0n

  constructor(readonly host: LinkHost, readonly genesis: Buffer, readonly agreement: any, public peer: Chain, readonly asProposer: boolean) {
    this.ledger = new Ledger(genesis, agreement)
  }
  get name() { return this.genesis.toString('hex') }
  get ownTerms() { return this.asProposer ? this.agreement.proposer : this.agreement.acceptor }
  get peerTerms() { return this.asProposer ? this.agreement.acceptor : this.agreement.proposer }

  // ---- opening ----
  private makeOpen(): { payload: Buffer; envelope: Buffer } {
    const l = this.ledger, chain = this.host.ownChain
    const payload = encode('Open', { genesis: this.genesis, nonce: randomBytes(32), descriptor_version: BigInt(chain.length), agreement_version: 1n, features: FEATURES, required_features: [],
      limits: LIMITS, clock: now(), own: { seq: BigInt(l.seq(0)), head: l.head(0) }, other: { seq: BigInt(l.seq(1)), head: l.head(1) }, descriptors: chain.envelopes })
    return { payload, envelope: seal(TYPE.open, payload, [this.host.signingKey]) }
  }
  dialled(wire: Wire): Stream | null {
    const stream: Stream = { wire, dialled: true, gotOpen: false, closed: false, since: Date.now() }
    const open = this.makeOpen()
    wire.write(encode('Frame', { open: open.envelope }))
    stream.ownOpen = open.payload
    if (this.state !== 'down') { this.close(stream, new Refusal('SUPERSEDED', 'The link is up already.')); return null }
    this.current = stream; this.state = 'opening'
    return stream
  }
  receive(stream: Stream, bytes: Buffer) {
    if (stream.closed) return
    try { this.frame(stream, bytes) } catch (e) {
      if (!(e instanceof Refusal)) console.error(e)
      this.close(stream, e instanceof Refusal ? e : new Refusal('INTERNAL', 'The node broke one of its own rules.'))
    }
  }
  private frame(stream: Stream, bytes: Buffer) {
    const f = readFrame(bytes)
    if (f.close) { this.ended(stream); return }
    if (f.open.length) return this.onOpen(stream, f)
    need(stream === this.current && this.session, 'UNEXPECTED_FRAME', 'Both Opens are not known yet.', { state: this.state })
    for (const e of f.events) need(eventSize(e) <= EVENT_BYTES, 'PAYLOAD_TOO_LARGE', 'An event is too large.', { size: eventSize(e), limit: EVENT_BYTES })
    need(f.entries.length + f.returned.length <= 4096, 'FRAME_TOO_LARGE', 'A frame holds more than 4,096 entries.', { size: f.entries.length + f.returned.length, limit: 4096 })
    need(!f.entries.length || f.signature, 'SIGNATURE_INVALID', 'Entries come without the signature that ends them.')
    need(!f.returned.length || f.returned_signature, 'SIGNATURE_INVALID', 'Returned entries come without their signature.')
    need(!(f.signature && f.returned_signature), 'FRAME_MALFORMED', 'A frame speaks of both logs.', { field: 'returned_signature' })
    const held = [this.ledger.seq(0), this.ledger.seq(1)]
    let ownTarget = this.ownWholeAt, otherTarget = this.otherWholeAt, signed = this.peerSigned
    const taken = this.ledger.atomic(() => {
      const s = f.returned_signature, ownKeys = this.host.ownKeys
      if (s && !f.returned.length) {
        need(rightSignature(this.genesis, s, ownKeys), 'SIGNATURE_INVALID', 'A returned signature is not our own.')
        ownTarget = Math.max(ownTarget, Number(s.seq)); otherTarget = Math.max(otherTarget, Number(s.acked))
      } else if (s) this.ledger.take(0, Number(f.first_returned), f.returned, s, encode('HeadSignature', s), ownKeys)
      const g = f.signature
      if (!g) return []
      const present = g.session.length === 32 && eq(g.session, this.session!)
      need(present || !signed, 'SIGNATURE_INVALID', 'A signature is of another session.')
      if (present) {
        need(this.ledger.seq(0) >= ownTarget, 'CURSOR_AHEAD', 'The peer signs before it has returned what it holds.', { seq: ownTarget, last: this.ledger.seq(0) })
        signed = true
      }
      return this.ledger.take(1, Number(f.first_seq), f.entries, g, encode('HeadSignature', g), present ? this.sessionKeys : this.peer.keysEver, now() + this.agreement.max_skew_ms)
    })
    for (const [side, s] of [[0, f.returned.length ? f.returned_signature : null], [1, f.signature]] as const)
      if (s) this.host.record(this, { side, first: held[side] + 1, entries: this.ledger.logs[side].entries.slice(held[side]), sig: encode('HeadSignature', s), inputs: side ? f.inputs : [] })
    this.ownWholeAt = ownTarget; this.otherWholeAt = otherTarget; this.peerSigned = signed
    this.heard = Date.now()
    if (f.returned.length) this.catchingSince = Date.now()
    if (f.entries.length) this.owesSignature = true
    this.host.inputs(this, taken, f.inputs)
    if (this.state === 'open') this.process(taken); else this.unprocessed.push(...taken)
    this.caughtUp()
    if (f.events.length || f.advertisements.length) this.host.frame(this, f)
    if (f.ping) this.pong = f.ping
    if (f.entries.length || f.ping) this.schedule()
  }
  private process(taken: Taken[]) {
    for (const [i, t] of taken.entries()) {
      if (t.void && t.seq > this.ledger.logs[0].acked) this.append(KIND.REFUSE, 'refuse', { entry_seq: BigInt(t.seq), rule: t.void })
      this.host.entry(this, t, taken.slice(i + 1))
    }
  }
  private onOpen(stream: Stream, f: any) {
    need(!stream.gotOpen, 'UNEXPECTED_FRAME', 'A second Open on one stream.', { state: this.state })
    const extra = f.entries.length || f.inputs.length || f.signature || f.events.length || f.returned.length || f.returned_signature || f.advertisements.length ||
      f.first_seq || f.first_returned || f.ping || f.pong
    need(!extra, 'FRAME_MALFORMED', 'An Open shares its frame.', { field: 'open' })
    const { open, payload, chain, keys } = checkOpen(f.open, { genesis: this.genesis, now: now(), max_skew_ms: this.agreement.max_skew_ms, features: FEATURES, chain: this.peer })
    this.compare(open.other, 0); this.compare(open.own, 1)
    const newer = chain!.length > this.peer.length
    if (newer) checkCertificates(chain!.last.descriptor.certificates, chain!.grid)
    const before = this.current
    if (before && before !== stream) {
      const stays = this.state !== 'open' && before.dialled && Buffer.compare(this.host.ownChain.fingerprint, this.peer.fingerprint) < 0
      need(!stays, 'SUPERSEDED', 'Another stream of the link stays.')
      this.close(before, new Refusal('SUPERSEDED', 'A newer stream of the link has taken over.'))
    }
    if (newer || chain !== this.peer) this.host.newChain(chain!)
    this.peer = chain!
    stream.gotOpen = true
    this.current = stream
    const a = this.ledger.seq(0), b = this.ledger.seq(1)
    if (!stream.dialled) {
      const own = this.makeOpen()
      stream.ownOpen = own.payload
      this.send(encode('Frame', { open: own.envelope }))
    }
    this.session = stream.dialled ? sessionOf(stream.ownOpen!, payload) : sessionOf(payload, stream.ownOpen!)
    this.sessionKeys = keys
    this.peerSigned = false
    this.peerLimits = readLimits(open.limits)
    this.heard = this.catchingSince = Date.now()
    const p = plan(a, b, Number(open.own.seq), Number(open.other.seq))
    this.ownWholeAt = p.ownWholeAt; this.otherWholeAt = p.otherWholeAt
    this.state = 'catching'
    this.resend(p.resendAfter, p.returnAfter, Number(open.other.seq), Number(open.own.seq))
    this.caughtUp()
  }
  private compare(cursor: any, side: Side) {
    const seq = Number(cursor.seq), log = this.ledger.logs[side]
    const acknowledged = this.ledger.logs[side === 0 ? 1 : 0].acked
    if (seq >= acknowledged && seq < log.heads.length && !eq(log.heads[seq], cursor.head)) refuse('LOG_FORK', 'The Open names another head than the one held.', { seq })
  }
  private resend(resendAfter: number, returnAfter: number, theyHoldOurs: number, theyHoldTheirs: number) {
    const [own, theirs] = this.ledger.logs
    if (theirs.lastSig) this.send(encode('Frame', { returned_signature: decode('HeadSignature', theirs.lastSig.bytes) }))
    const cut = (side: Side, after: number) => {
      const out: { first: number; last: number; acked: number; bytes: Buffer }[] = []
      let from = after
      for (const s of this.ledger.logs[side].firstSig) if (s.seq > from) { out.push({ first: from + 1, last: s.seq, acked: s.acked, bytes: s.bytes }); from = s.seq }
      return out
    }
    const ours = cut(0, resendAfter), back = cut(1, returnAfter)
    let heldOurs = Math.min(theyHoldOurs, own.entries.length), heldTheirs = theyHoldTheirs
    while (ours.length || back.length) {
      const g = ours[0], r = back[0]
      if (g && (g.acked <= heldTheirs || !r)) {
        ours.shift()
        const entries = own.entries.slice(g.first - 1, g.last), inputs = []
        for (let n = g.first; n <= g.last; n++) { const data = this.openInput(n); if (data) inputs.push({ order_seq: BigInt(n), data }) }
        this.send(encode('Frame', { first_seq: BigInt(g.first), entries, signature: decode('HeadSignature', g.bytes), inputs }))
        heldOurs = g.last
      } else {
        back.shift()
        this.send(encode('Frame', { first_returned: BigInt(r.first), returned: theirs.entries.slice(r.first - 1, r.last), returned_signature: decode('HeadSignature', r.bytes) }))
        heldTheirs = r.last
      }
    }
  }
  private openInput(seq: number) {
    const h = this.ledger.logs[0].holds.get(seq)
    return h && h.state === 'OPEN' ? this.host.inputOf(this, seq) : undefined
  }
  private caughtUp() {
    if (this.state !== 'catching' || this.ledger.seq(0) < this.ownWholeAt || this.ledger.seq(1) < this.otherWholeAt) return
    this.state = 'open'; this.everOpen = true
    this.owesSignature = true
    this.process(this.unprocessed.splice(0))
    this.host.opened(this)
    this.schedule()
  }

  // ---- writing ----
  get pendingEntries() { return this.pending?.entries.length ?? 0 }
  get writable() { return this.state === 'open' }
  // Appends an entry to the own log; only while the link may write, or with the last session's signature while it is down.
  append(kind: number, body: string, value: any, input?: Buffer): Taken {
    const entry = { kind, seen: BigInt(this.ledger.seq(1)), at: max(now(), this.ledger.logs[0].at), [body]: value }
    const bytes = encode('Entry', entry), size = bytes.length + (input?.length ?? 0) + 32
    if (bytes.length > 65536) refuse('PAYLOAD_TOO_LARGE', 'An entry is too large.')
    if (this.pending && (this.pending.bytes + size > this.peerLimits.frame_bytes - 4096 || this.pending.entries.length >= 4000)) this.sealPending()
    const t = this.ledger.atomic(() => {
      const t = this.ledger.apply(0, bytes, decode('Entry', bytes))
      if (t.void) throw new Error(`would write a void entry: ${body} ${t.void}`)
      return t
    })
    this.pending ??= { first: t.seq, entries: [], inputs: [], bytes: 0 }
    this.pending.entries.push(bytes); this.pending.bytes += size
    if (input) this.pending.inputs.push({ order_seq: BigInt(t.seq), data: input })
    if (this.state === 'down') this.sealPending(); else this.schedule()
    return t
  }
  private lastSession: Buffer = Buffer.alloc(32)
  private sealPending() {
    if (!this.pending && !this.owesSignature) return
    const p = this.pending ?? { first: 0, entries: [], inputs: [] }
    this.pending = null; this.owesSignature = false
    const s = this.ledger.sign(this.host.signingKey, this.session ?? this.lastSession)
    this.host.record(this, { side: 0, first: p.first, entries: p.entries, sig: s.bytes, inputs: p.inputs })
    this.groups.push({ first: p.first, entries: p.entries, sig: s.bytes, inputs: p.inputs })
  }
  // Events are given with order_seq set.
  event(e: any) { if (this.state !== 'open') return; this.outEvents.push(encode('Event', e)); this.schedule() }
  advertise(ads: Buffer[]) { if (this.state !== 'open') return; this.outAds.push(...ads); this.schedule() }
  schedule() { if (!this.scheduled) { this.scheduled = true; setImmediate(() => { this.scheduled = false; this.flush() }) } }
  flush() {
    if (this.state !== 'open') {
      if (this.state === 'catching' && this.pong) { this.send(encode('Frame', { pong: this.pong })); this.pong = 0n }
      return
    }
    this.sealPending()
    // A frame holds at most one group, and as many events and advertisements as fit beside it.
    const limit = this.peerLimits.frame_bytes - 64
    let frame: Buffer[] = [], size = 0
    const out = () => { if (frame.length) this.send(Buffer.concat(frame)); frame = []; size = 0 }
    const put = (b: Buffer) => { if (size && size + b.length > limit) out(); frame.push(b); size += b.length }
    for (const g of this.groups.splice(0)) { out(); put(encode('Frame', { first_seq: BigInt(g.first), entries: g.entries, signature: decode('HeadSignature', g.sig), inputs: g.inputs })) }
    for (const e of this.outEvents.splice(0)) put(block(6, e))
    for (const a of this.outAds.splice(0)) put(block(10, a))
    out()
    if (this.pong) { this.send(encode('Frame', { pong: this.pong })); this.pong = 0n }
  }
  private send(frame: Buffer) {
    const s = this.current
    if (!s || s.closed) return
    if (s.wire.buffered > 64 << 20) { this.close(s, new Refusal('SLOW_PEER', 'The peer does not read.')); return }
    s.wire.write(frame)
  }
  close(stream: Stream, why: Refusal) {
    if (stream.closed) return
    stream.closed = true
    stream.wire.write(encode('Frame', { close: why.problem }))
    stream.wire.end()
    setTimeout(() => stream.wire.cut(), 1000).unref()
    this.gone(stream)
  }
  // The stream has ended, by the peer or by the transport.
  ended(stream: Stream) {
    if (!stream.closed) { stream.closed = true; stream.wire.end(); setTimeout(() => stream.wire.cut(), 1000).unref() }
    this.gone(stream)
  }
  private gone(stream: Stream) {
    if (this.current !== stream) return
    if (this.state === 'open') { this.sealPending() }
    if (this.session) this.lastSession = this.session
    this.current = null; this.session = null; this.state = 'down'
    this.groups = []; this.outEvents = []; this.outAds = []; this.pong = 0n; this.owesSignature = false
    this.host.lost(this)
  }
  tick() {
    const s = this.current, t = Date.now()
    if (!s) return
    if (this.state === 'opening') { if (t - s.since > 30000) this.close(s, new Refusal('SILENT_PEER', 'No Open has come.', { silence_ms: t - s.since })); return }
    if (this.state === 'catching' && t - this.catchingSince > 30000) {
      this.close(s, new Refusal('CURSOR_AHEAD', 'What was lost has not been returned.', { seq: this.ownWholeAt, last: this.ledger.seq(0) })); return
    }
    const silence = t - this.heard
    if (silence >= 30000) this.close(s, new Refusal('SILENT_PEER', 'Nothing was heard for 30 seconds.', { silence_ms: silence }))
    else if (silence >= 10000 && t - this.pinged >= 5000) { this.pinged = t; this.send(encode('Frame', { ping: BigInt(1 + Math.floor(Math.random() * 1e9)) })) }
  }
}
const block = (no: number, b: Buffer) => {
  const n = b.length, len = n < 128 ? [n] : n < 16384 ? [n & 127 | 128, n >> 7] : [n & 127 | 128, n >> 7 & 127 | 128, n >> 14]
  return Buffer.concat([Buffer.from([no * 8 + 2, ...len]), b])
}
export function readFrame(bytes: Buffer): any {
  need(bytes.length <= LIMITS.frame_bytes, 'FRAME_TOO_LARGE', 'A frame is too large.', { size: bytes.length, limit: LIMITS.frame_bytes })
  try { return decode('Frame', bytes) } catch { return refuse('FRAME_MALFORMED', 'A frame does not decode.', { field: 'frame' }) }
}
// The frame inside a LinkRequest or LinkResponse.
export function unwrap(message: Buffer): Buffer {
  try { return decode('Wrap', message).frame } catch { return Buffer.from([0xff]) }
}
export const wrap = (frame: Buffer) => encode('Wrap', { frame })
