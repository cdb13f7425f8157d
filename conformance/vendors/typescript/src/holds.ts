// What the two logs of a link hold: kinds of entries, orders with their grants, charges and credits, and the sums of a lane (RFC 0007).
import { min } from './core.ts'
import type * as Msg from './messages.ts'
import type { Draft } from './proto.ts'

export type Side = 0 | 1                       // 0: the log that this node writes; 1: the other one
export const other = (s: Side): Side => s === 0 ? 1 : 0
// By the name of an entry's body.
export const KIND = {
  agreement: 1, tariff: 2, order: 3, grant: 4, cancel: 5, reject: 6, charge: 7, credit: 8, refuse: 9, withdraw: 10, expire: 11,
} as const
type Body = keyof typeof KIND
// The one body of an entry that is to be written.
export type Said = { [B in Body]: Record<B, Draft<NonNullable<Msg.Entry[B]>>> }[Body]
export function kindOf(said: Said): number {
  for (const [body, kind] of Object.entries(KIND)) if (body in said) return kind
  throw new Error('an entry without a body')
}

export interface Terms { claim_window_ms: bigint; max_hold_ms: bigint; max_skew_ms: bigint }
export interface Claim { seq: number; amount: bigint; quantities: bigint[]; final: boolean; refused: boolean; charge: Msg.Charge }
export interface Hold {
  payer: Side; seq: number; order: Msg.Order; at: bigint; claimUntil: bigint
  state: 'OPEN' | 'CHARGED' | 'REJECTED' | 'EXPIRED'; endedBy: number
  grants: { seq: number; amount: bigint }[]; claims: Claim[]; credits: { seq: number; amount: bigint }[]
  canceled: boolean; reject?: Msg.Reject
}
export const claimed = (h: Hold) => h.claims.at(-1)?.amount ?? 0n
export const credited = (h: Hold) => h.credits.reduce((s, c) => s + c.amount, 0n)
export const lastGrant = (h: Hold) => h.grants.at(-1)?.amount ?? h.order.grant
// What a hold adds to the agreed total where the debtor has seen the creditor's log up to r.
export function agreedAt(h: Hold, r: number): bigint {
  let last = 0n, sound = 0n
  for (const c of h.claims) if (c.seq <= r) { last = c.amount; if (!c.refused) sound = c.amount }
  for (const c of h.credits) if (c.seq <= r) last -= c.amount
  return min(sound, last)
}

export interface Signed { seq: number; acked: number; bytes: Buffer }        // a head signature, and what it speaks of
export interface Log {
  entries: Buffer[]; heads: Buffer[]; seen: number; at: bigint
  acked: number                                // the highest seq of the other log that this log's author has signed for
  total: bigint                                // what its author's last signature says
  firstSig: Signed[]                           // the first signature of each seq, in order
  lastSig?: Signed
  tariffs: Map<number, Msg.Tariff>             // valid ones, the newest 2,048
  holds: Map<number, Hold>                     // of orders in this log
  touched: Map<number, Hold>                   // seq of a charge or credit in this log -> its hold
}
export interface Lane { posted: bigint; pending: bigint; granted: bigint; earned: bigint; agreedNow: bigint; open: number }
// An entry that has been appended; `void` names the rule that it breaks.
export interface Taken { seq: number; entry: Msg.Entry; bytes: Buffer; void: string; hold?: Hold; head: Buffer }

export const newLog = (genesis: Buffer): Log => ({ entries: [], heads: [genesis], seen: 0, at: 0n, acked: 0, total: 0n, firstSig: [],
  tariffs: new Map(), holds: new Map(), touched: new Map() })
export const newLane = (): Lane => ({ posted: 0n, pending: 0n, granted: 0n, earned: 0n, agreedNow: 0n, open: 0 })
