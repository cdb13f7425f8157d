// What each side sends again when a link reopens: its own entries, and those of the peer, interleaved by what they have seen (RFC 0005).
import type { Side } from './holds.ts'
import type { Ledger } from './log.ts'
import type * as Msg from './messages.ts'
import { decode, encode } from './proto.ts'

interface Lot { first: number; last: number; acked: number; bytes: Buffer }
// `own` and `theirs`: the seqs after which the two logs are sent again; `held`: up to where the peer holds its own log.
export interface Missing { own: number; theirs: number; held: number }

// Groups as they were first signed, cut at the seq after which they are sent.
function lots(ledger: Ledger, side: Side, after: number): Lot[] {
  const out: Lot[] = []
  let from = after
  for (const { seq, acked, bytes } of ledger.logs[side].firstSig) {
    if (seq <= from) continue
    out.push({ first: from + 1, last: seq, acked, bytes })
    from = seq
  }
  return out
}
export function resent(ledger: Ledger, missing: Missing, inputOf: (seq: number) => Buffer | undefined): Buffer[] {
  const [, theirs] = ledger.logs, frames: Buffer[] = []
  if (theirs.lastSig) frames.push(encode('Frame', { returned_signature: decode('HeadSignature', theirs.lastSig.bytes) }))
  const ours = lots(ledger, 0, missing.own), back = lots(ledger, 1, missing.theirs)
  let held = missing.held
  while (ours.length || back.length) {
    const [g] = ours, [r] = back
    if (g && (!r || g.acked <= held)) {
      ours.shift()
      frames.push(ownFrame(ledger, g, inputOf))
    } else {
      back.shift()
      frames.push(returnedFrame(ledger, r))
      held = r.last
    }
  }
  return frames
}
function ownFrame(ledger: Ledger, g: Lot, inputOf: (seq: number) => Buffer | undefined): Buffer {
  const [own] = ledger.logs, inputs: Msg.OrderInput[] = []
  for (let n = g.first; n <= g.last; n++) {
    const data = own.holds.get(n)?.state === 'OPEN' ? inputOf(n) : undefined
    if (data) inputs.push({ order_seq: BigInt(n), data })
  }
  const entries = own.entries.slice(g.first - 1, g.last)
  return encode('Frame', { first_seq: BigInt(g.first), entries, signature: decode('HeadSignature', g.bytes), inputs })
}
function returnedFrame(ledger: Ledger, r: Lot): Buffer {
  const returned = ledger.logs[1].entries.slice(r.first - 1, r.last)
  return encode('Frame', { first_returned: BigInt(r.first), returned, returned_signature: decode('HeadSignature', r.bytes) })
}
