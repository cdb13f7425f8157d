// How one call follows one invocation: what has happened, what happens, and the outcome (RFC 0009 sections 3.9 and 3.14).
import { need } from '../core.ts'
import type { ServerCall } from '../grpc.ts'
import type * as Msg from '../messages.ts'
import { encode } from '../proto.ts'
import type { Invocation } from './invocation.ts'

const GATHERED = 1048576

// Durable events up to `after` are known already; of the others only those are sent that come while it is followed.
export const skipped = (e: Msg.Event, after: bigint, live: boolean) =>
  e.gap ? e.gap.last !== 0n && e.gap.last <= after : e.number > 0n ? e.number <= after : !live

export async function follow(call: ServerCall, inv: Invocation, after: bigint, type: 'InvokeResponse' | 'SubscribeResponse') {
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
// Call: nothing but the outcome, with all output in it.
export async function gather(call: ServerCall, inv: Invocation) {
  for (let size = 0, i = 0; ;) {
    for (; i < inv.items.length; i++) size += inv.items[i].chunk?.payload?.data.length ?? 0
    need(size <= GATHERED, 'PAYLOAD_TOO_LARGE', 'The output is more than Call gathers.', { size, limit: GATHERED })
    if (inv.outcome || call.gone) break
    await inv.changed()
  }
  if (call.gone) return
  call.write(encode('CallResponse', { outcome: inv.gathered() }))
  call.end()
}
