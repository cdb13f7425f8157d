// One link: streams, opening, taking frames, writing, flow and death (RFC 0005).
import { eq, max, need, now, Refusal, refuse, sessionOf } from './core.ts'
import { refusalOf } from './errors.ts'
import { checkFrame, checkOpenFrame, Outgoing, Pending, readFrame, type Group, type Stream, type Wire } from './frames.ts'
import { kindOf, type Said, type Side, type Taken } from './holds.ts'
import type { Chain, PeeringTerms } from './identity.ts'
import { seal, TYPE, type SigningKey } from './keys.ts'
import { Ledger } from './log.ts'
import type * as Msg from './messages.ts'
import { checkCursors, checkPeerOpen, FEATURES, LIMITS, makeOpen, plan, readLimits, type CheckedOpen } from './opening.ts'
import { decode, encode, type Draft } from './proto.ts'
import { resent } from './resending.ts'
import { rightSignature } from './signature.ts'
import { checkCertificates } from './x509.ts'

const ENTRY_BYTES = 65536, UNREAD_BYTES = 64 << 20
const SILENCE_MS = 30000, PING_AFTER_MS = 10000, PING_AGAIN_MS = 5000, CUT_MS = 1000

export interface LinkHost {
  ownChain: Chain; ownKeys: Buffer[]; signingKey: SigningKey
  entry(link: Link, t: Taken, later: Taken[]): void       // a new entry of the other log, once the link may write
  frame(link: Link, f: Msg.Frame): void                   // events and advertisements of a frame that holds
  inputs(link: Link, taken: Taken[], inputs: Msg.OrderInput[]): void      // inputs beside new orders
  opened(link: Link): void
  lost(link: Link): void
  newChain(chain: Chain): void                            // that the peer's Open has brought
  record(link: Link, side: Side, group: Group): void      // made durable
  inputOf(link: Link, seq: number): Buffer | undefined    // of an own order, for as long as it is kept
}
// What a session has reached: from which seqs on the logs are whole again, and whether the peer has signed.
interface Progress { ownWholeAt: number; otherWholeAt: number; peerSigned: boolean }

export class Link {
  readonly ledger: Ledger
  state: 'down' | 'opening' | 'catching' | 'open' = 'down'
  current: Stream | null = null
  everOpen = false
  peerLimits = readLimits(LIMITS)
  suspended = false
  private session: Buffer | null = null
  private lastSession: Buffer = Buffer.alloc(32)
  private sessionKeys: Uint8Array[] = []
  private progress: Progress = { ownWholeAt: 0, otherWholeAt: 0, peerSigned: false }
  private unprocessed: Taken[] = []
  private pending: Pending | null = null
  private readonly outgoing = new Outgoing()
  private owesSignature = false
  private scheduled = false
  private heard = 0
  private pinged = 0
  private catchingSince = 0
  private pong = 0n

  constructor(
    readonly host: LinkHost, readonly genesis: Buffer, readonly agreement: PeeringTerms, public peer: Chain, readonly asProposer: boolean,
  ) { this.ledger = new Ledger(genesis, agreement) }
  get name() { return this.genesis.toString('hex') }
  get ownTerms() { return this.asProposer ? this.agreement.proposer : this.agreement.acceptor }
  get peerTerms() { return this.asProposer ? this.agreement.acceptor : this.agreement.proposer }

  // ---- opening ----
  private sealedOpen(): { payload: Buffer; envelope: Buffer } {
    const payload = makeOpen(this.ledger, this.host.ownChain)
    return { payload, envelope: seal(TYPE.open, payload, [this.host.signingKey]) }
  }
  dialled(wire: Wire): Stream | null {
    const stream: Stream = { wire, dialled: true, gotOpen: false, closed: false, since: Date.now() }
    const open = this.sealedOpen()
    wire.write(encode('Frame', { open: open.envelope }))
    stream.ownOpen = open.payload
    if (this.state !== 'down') { this.close(stream, new Refusal('SUPERSEDED', 'The link is up already.')); return null }
    this.current = stream
    this.state = 'opening'
    return stream
  }
  private answerOpen(stream: Stream): Buffer {
    const open = this.sealedOpen()
    stream.ownOpen = open.payload
    this.send(encode('Frame', { open: open.envelope }))
    return open.payload
  }
  private onOpen(stream: Stream, f: Msg.Frame) {
    need(!stream.gotOpen, 'UNEXPECTED_FRAME', 'A second Open on one stream.', { state: this.state })
    checkOpenFrame(f)
    const { genesis, agreement: { max_skew_ms } } = this
    const { open, payload, chain, keys } = checkPeerOpen(f.open, { genesis, now: now(), max_skew_ms, features: FEATURES }, this.peer)
    checkCursors(open, this.ledger)
    if (chain.length > this.peer.length) checkCertificates(chain.last.descriptor.certificates, chain.grid)
    this.supersede(stream)
    if (chain !== this.peer) this.host.newChain(chain)
    this.peer = chain
    stream.gotOpen = true
    this.current = stream
    this.beginSession(stream, open, payload, keys)
  }
  private beginSession(stream: Stream, open: CheckedOpen['open'], payload: Buffer, keys: Uint8Array[]) {
    const seqs = [this.ledger.seq(0), this.ledger.seq(1)], held = Number(open.own.seq)
    const own = stream.ownOpen ?? this.answerOpen(stream)
    this.session = stream.dialled ? sessionOf(own, payload) : sessionOf(payload, own)
    this.sessionKeys = keys
    this.peerLimits = readLimits(open.limits)
    this.heard = this.catchingSince = Date.now()
    const { resendAfter, returnAfter, ...whole } = plan(seqs[0], seqs[1], held, Number(open.other.seq))
    this.progress = { ...whole, peerSigned: false }
    this.state = 'catching'
    const missing = { own: resendAfter, theirs: returnAfter, held }
    for (const frame of resent(this.ledger, missing, seq => this.host.inputOf(this, seq))) this.send(frame)
    this.caughtUp()
  }
  // Of two streams the newer one stays, but for two that cross.
  private supersede(stream: Stream) {
    const before = this.current
    if (!before || before === stream) return
    const stays = this.state !== 'open' && before.dialled && Buffer.compare(this.host.ownChain.fingerprint, this.peer.fingerprint) < 0
    need(!stays, 'SUPERSEDED', 'Another stream of the link stays.')
    this.close(before, new Refusal('SUPERSEDED', 'A newer stream of the link has taken over.'))
  }
  private caughtUp() {
    const { ownWholeAt, otherWholeAt } = this.progress
    if (this.state !== 'catching' || this.ledger.seq(0) < ownWholeAt || this.ledger.seq(1) < otherWholeAt) return
    this.state = 'open'
    this.everOpen = true
    this.owesSignature = true
    this.process(this.unprocessed.splice(0))
    this.host.opened(this)
    this.schedule()
  }

  // ---- reading ----
  receive(stream: Stream, bytes: Buffer) {
    if (stream.closed) return
    try { this.frame(stream, bytes) } catch (e) { this.close(stream, refusalOf(e)) }
  }
  private frame(stream: Stream, bytes: Buffer) {
    const f = readFrame(bytes), { session } = this
    if (f.close) { this.ended(stream); return }
    if (f.open.length) { this.onOpen(stream, f); return }
    need(stream === this.current && session, 'UNEXPECTED_FRAME', 'Both Opens are not known yet.', { state: this.state })
    checkFrame(f)
    const before = [this.ledger.seq(0), this.ledger.seq(1)], progress = { ...this.progress }
    const taken = this.ledger.atomic(() => {
      this.takeReturned(f, progress)
      return this.takeNew(f, progress, session)
    })
    if (f.returned.length) this.recordTaken(0, before[0], f.returned_signature, [])
    this.recordTaken(1, before[1], f.signature, f.inputs)
    this.progress = progress
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
  private takeReturned(f: Msg.Frame, p: Progress) {
    const sig = f.returned_signature, { ownKeys } = this.host
    if (!sig) return
    if (f.returned.length) {
      this.ledger.take(0, { first: Number(f.first_returned), entries: f.returned, sig, bytes: encode('HeadSignature', sig) }, ownKeys)
      return
    }
    need(rightSignature(this.genesis, sig, ownKeys), 'SIGNATURE_INVALID', 'A returned signature is not our own.')
    p.ownWholeAt = Math.max(p.ownWholeAt, Number(sig.seq))
    p.otherWholeAt = Math.max(p.otherWholeAt, Number(sig.acked))
  }
  private takeNew(f: Msg.Frame, p: Progress, session: Buffer): Taken[] {
    const sig = f.signature
    if (!sig) return []
    const present = sig.session.length === 32 && eq(sig.session, session), last = this.ledger.seq(0)
    need(present || !p.peerSigned, 'SIGNATURE_INVALID', 'A signature is of another session.')
    if (present) need(last >= p.ownWholeAt, 'CURSOR_AHEAD', 'The peer signs before it has returned what it holds.',
      { seq: p.ownWholeAt, last })
    p.peerSigned ||= present
    return this.ledger.take(1, { first: Number(f.first_seq), entries: f.entries, sig, bytes: encode('HeadSignature', sig) },
      present ? this.sessionKeys : this.peer.keysEver, now() + this.agreement.max_skew_ms)
  }
  private recordTaken(side: Side, before: number, sig: Msg.HeadSignature | undefined, inputs: Msg.OrderInput[]) {
    if (!sig) return
    const entries = this.ledger.logs[side].entries.slice(before)
    this.host.record(this, side, { first: before + 1, entries, sig: encode('HeadSignature', sig), inputs })
  }
  private process(taken: Taken[]) {
    for (const [i, t] of taken.entries()) {
      if (t.void && t.seq > this.ledger.logs[0].acked) this.append({ refuse: { entry_seq: BigInt(t.seq), rule: t.void } })
      this.host.entry(this, t, taken.slice(i + 1))
    }
  }

  // ---- writing ----
  get pendingEntries() { return this.pending?.entries.length ?? 0 }
  get writable() { return this.state === 'open' }
  // Appends an entry to the own log; only while the link may write, or with the last session's signature while it is down.
  append(said: Said, input?: Buffer): Taken {
    const at = max(now(), this.ledger.logs[0].at)
    const bytes = encode('Entry', { kind: kindOf(said), seen: BigInt(this.ledger.seq(1)), at, ...said })
    if (bytes.length > ENTRY_BYTES) refuse('PAYLOAD_TOO_LARGE', 'An entry is too large.')
    if (this.pending?.takes(bytes, input, this.peerLimits.frame_bytes) === false) this.sealPending()
    const t = this.ledger.atomic(() => {
      const t = this.ledger.apply(0, bytes, decode('Entry', bytes))
      if (t.void) throw new Error(`would write a void entry: ${Object.keys(said)} ${t.void}`)
      return t
    })
    this.pending ??= new Pending(t.seq)
    this.pending.add(t.seq, bytes, input)
    if (this.state === 'down') this.sealPending(); else this.schedule()
    return t
  }
  private sealPending() {
    if (!this.pending && !this.owesSignature) return
    const { first, entries, inputs } = this.pending ?? new Pending(0)
    this.pending = null
    this.owesSignature = false
    const group = { first, entries, sig: this.ledger.sign(this.host.signingKey, this.session ?? this.lastSession).bytes, inputs }
    this.host.record(this, 0, group)
    if (this.state !== 'down') this.outgoing.group(group)      // what is written meanwhile, the next opening resends
  }
  // Events are given with order_seq set.
  event(e: Draft<Msg.Event>) {
    if (this.state !== 'open') return
    this.outgoing.event(encode('Event', e))
    this.schedule()
  }
  advertise(ads: Buffer[]) {
    if (this.state !== 'open') return
    this.outgoing.advertise(ads)
    this.schedule()
  }
  private schedule() {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(() => { this.scheduled = false; this.flush() })
  }
  flush() {
    if (this.state === 'open') {
      this.sealPending()
      for (const frame of this.outgoing.take(this.peerLimits.frame_bytes - 64)) this.send(frame)
    }
    if (!this.pong || this.state !== 'open' && this.state !== 'catching') return
    this.send(encode('Frame', { pong: this.pong }))
    this.pong = 0n
  }
  private send(frame: Buffer) {
    const s = this.current
    if (!s || s.closed) return
    if (s.wire.buffered > UNREAD_BYTES) { this.close(s, new Refusal('SLOW_PEER', 'The peer does not read.')); return }
    s.wire.write(frame)
  }

  // ---- ending ----
  close(stream: Stream, why: Refusal) {
    if (stream.closed) return
    stream.wire.write(encode('Frame', { close: why.problem }))
    this.ended(stream)
  }
  // The stream has ended, by the peer or by the transport.
  ended(stream: Stream) {
    if (!stream.closed) {
      stream.closed = true
      stream.wire.end()
      setTimeout(() => stream.wire.cut(), CUT_MS).unref()
    }
    this.gone(stream)
  }
  private gone(stream: Stream) {
    if (this.current !== stream) return
    if (this.state === 'open') this.sealPending()
    if (this.session) this.lastSession = this.session
    this.current = null
    this.session = null
    this.state = 'down'
    this.outgoing.clear()
    this.pong = 0n
    this.owesSignature = false
    this.host.lost(this)
  }
  tick() {
    const s = this.current, t = Date.now()
    if (!s) return
    if (this.state === 'opening') {
      const silence_ms = t - s.since
      if (silence_ms > SILENCE_MS) this.close(s, new Refusal('SILENT_PEER', 'No Open has come.', { silence_ms }))
      return
    }
    const silence_ms = t - this.heard
    if (this.state === 'catching' && t - this.catchingSince > SILENCE_MS)
      this.close(s, new Refusal('CURSOR_AHEAD', 'What was lost has not been returned.',
        { seq: this.progress.ownWholeAt, last: this.ledger.seq(0) }))
    else if (silence_ms >= SILENCE_MS) this.close(s, new Refusal('SILENT_PEER', 'Nothing was heard for 30 seconds.', { silence_ms }))
    else if (silence_ms >= PING_AFTER_MS && t - this.pinged >= PING_AGAIN_MS) {
      this.pinged = t
      this.send(encode('Frame', { ping: BigInt(1 + Math.floor(Math.random() * 1e9)) }))
    }
  }
}
