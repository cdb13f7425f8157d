// Streams and their frames: reading one, what must hold of each, and packing what is to be sent (RFC 0005).
import { need, refuse } from './core.ts'
import type * as Msg from './messages.ts'
import { LIMITS } from './opening.ts'
import { decode, decodeOr, encode, uvarint } from './proto.ts'
import { EVENT_BYTES, eventSize } from './semantics.ts'

const ENTRIES = 4096, GROUP_ENTRIES = 4000
const EVENTS_FIELD = 6, ADVERTISEMENTS_FIELD = 10

export interface Wire { write(frame: Buffer): void; end(): void; cut(): void; readonly buffered: number }
export interface Stream { wire: Wire; dialled: boolean; ownOpen?: Buffer; gotOpen: boolean; closed: boolean; since: number }
// Entries of one log as they are sent and kept: with the signature that ends them, and the inputs of their orders.
export interface Group { first: number; entries: Buffer[]; sig: Buffer; inputs: Msg.OrderInput[] }

export function readFrame(bytes: Buffer): Msg.Frame {
  need(bytes.length <= LIMITS.frame_bytes, 'FRAME_TOO_LARGE', 'A frame is too large.', { size: bytes.length, limit: LIMITS.frame_bytes })
  return decodeOr('Frame', bytes, () => refuse('FRAME_MALFORMED', 'A frame does not decode.', { field: 'frame' }))
}
// A frame after the Opens.
export function checkFrame(f: Msg.Frame) {
  for (const e of f.events) {
    const size = eventSize(e)
    need(size <= EVENT_BYTES, 'PAYLOAD_TOO_LARGE', 'An event is too large.', { size, limit: EVENT_BYTES })
  }
  const size = f.entries.length + f.returned.length
  need(size <= ENTRIES, 'FRAME_TOO_LARGE', 'A frame holds more than 4,096 entries.', { size, limit: ENTRIES })
  need(!f.entries.length || f.signature, 'SIGNATURE_INVALID', 'Entries come without the signature that ends them.')
  need(!f.returned.length || f.returned_signature, 'SIGNATURE_INVALID', 'Returned entries come without their signature.')
  need(!(f.signature && f.returned_signature), 'FRAME_MALFORMED', 'A frame speaks of both logs.', { field: 'returned_signature' })
}
// An Open is alone in its frame.
export function checkOpenFrame(f: Msg.Frame) {
  const lists = f.entries.length || f.inputs.length || f.events.length || f.returned.length || f.advertisements.length
  const extra = lists || f.signature || f.returned_signature || f.first_seq || f.first_returned || f.ping || f.pong
  need(!extra, 'FRAME_MALFORMED', 'An Open shares its frame.', { field: 'open' })
}
// The frame inside a LinkRequest or LinkResponse.
export function unwrap(message: Buffer): Buffer {
  try { return decode('Wrap', message).frame } catch { return Buffer.from([0xff]) }
}
export const wrap = (frame: Buffer) => encode('Wrap', { frame })

// The group that is being written; it ends with the signature.
export class Pending {
  readonly entries: Buffer[] = []
  readonly inputs: Msg.OrderInput[] = []
  private size = 0
  constructor(readonly first: number) {}
  takes(entry: Buffer, input: Buffer | undefined, frameBytes: number): boolean {
    return this.size + sizeOf(entry, input) <= frameBytes - 4096 && this.entries.length < GROUP_ENTRIES
  }
  add(seq: number, entry: Buffer, input?: Buffer) {
    this.entries.push(entry)
    this.size += sizeOf(entry, input)
    if (input) this.inputs.push({ order_seq: BigInt(seq), data: input })
  }
}
const sizeOf = (entry: Buffer, input?: Buffer) => entry.length + (input?.length ?? 0) + 32

const groupFrame = (g: Group) => encode('Frame',
  { first_seq: BigInt(g.first), entries: g.entries, signature: decode('HeadSignature', g.sig), inputs: g.inputs })
const block = (no: number, b: Buffer) => Buffer.concat([Buffer.from([no * 8 + 2]), uvarint(b.length), b])

// What waits for the next turn in which a link writes.
export class Outgoing {
  private groups: Group[] = []
  private events: Buffer[] = []
  private ads: Buffer[] = []
  group(g: Group) { this.groups.push(g) }
  event(e: Buffer) { this.events.push(block(EVENTS_FIELD, e)) }
  advertise(list: Buffer[]) { for (const a of list) this.ads.push(block(ADVERTISEMENTS_FIELD, a)) }
  clear() { this.groups = []; this.events = []; this.ads = [] }
  // A frame holds at most one group, and as many events and advertisements as fit beside it.
  take(limit: number): Buffer[] {
    const frames: Buffer[] = []
    let parts: Buffer[] = [], size = 0
    const out = () => { if (parts.length) frames.push(Buffer.concat(parts)); parts = []; size = 0 }
    const put = (b: Buffer) => { if (size && size + b.length > limit) out(); parts.push(b); size += b.length }
    for (const g of this.groups) { out(); put(groupFrame(g)) }
    for (const b of this.events) put(b)
    for (const b of this.ads) put(b)
    out()
    this.clear()
    return frames
  }
}
