// What an invocation has cost and used so far, as its consumer is shown it.
import { byBytes, max, min, nothing, now } from '../core.ts'
import type { End } from '../execution.ts'
import { claimed, credited, type Hold } from '../holds.ts'
import type * as Msg from '../messages.ts'
import type { Placed } from '../placed.ts'
import type { NewOrder } from '../placing.ts'

const HOLD = { OPEN: 1, IN_DOUBT: 2, CHARGED: 3, REJECTED: 4, EXPIRED: 5 }

export interface ReceiptHost { grid: string; asset: string; scale: number; gridName(fingerprint: Buffer): string }
export interface Spending {
  charged: bigint; deadline: bigint
  finalEnd: End | null
  placed: Placed | null                   // where another grid does the work
  names: string[]                         // of the grids on the way to it
  doubt: boolean                          // the deadline passed without an end
}
export function costOf(h: Hold): bigint {
  const sound = h.claims.filter(c => !c.refused).at(-1)?.amount ?? 0n
  return max(0n, min(sound, claimed(h) - credited(h)))
}
export function receiptOf(host: ReceiptHost, s: Spending): Msg.Receipt {
  const end = s.finalEnd, record = end?.record
  return { charge: s.charged, asset: host.asset, scale: host.scale, usage: usageOf(end, s.placed?.order), energy: record?.energy,
    place: record?.place ?? '', executed_by: record ? host.gridName(record.executor) : '', path: [host.grid, ...s.names],
    proof: end?.proof, hold: holdOf(s) }
}
// By the record; where none came, by the quantities that were charged.
function usageOf(end: End | null, order: NewOrder | undefined): Msg.UsageLine[] {
  if (end?.record) return end.record.usage.filter(u => u.quantity > 0n)
  if (!end || !order) return []
  const charged = order.prices.map(({ unit }, i) => ({ unit, quantity: end.quantities[i] ?? 0n }))
  return charged.filter(u => u.quantity > 0n).sort((a, b) => byBytes(a.unit, b.unit))
}
function holdOf(s: Spending): number {
  const h = s.placed?.hold
  if (!h) return 0
  return h.state === 'OPEN' && (s.doubt || now() > s.deadline) ? HOLD.IN_DOUBT : HOLD[h.state]
}
// The outcome with all output in one, as Call gives it.
export function gathered(items: Msg.Event[], outcome: Msg.Outcome): Msg.Outcome {
  const chunks = items.flatMap(e => e.chunk ? [e.chunk.payload] : []), last = outcome.output
  const data = Buffer.concat([...chunks, last].map(p => p?.data ?? nothing))
  if (!data.length && !last) return outcome
  return { ...outcome, output: { media_type: last?.media_type || chunks.at(-1)?.media_type || '', data } }
}
