// Small rules of RFC 0009 that are shared: equality of requests, sizes of events.
import { eq, need, nothing } from './core.ts'
import type * as Msg from './messages.ts'
import { encode, type Draft } from './proto.ts'

// Section 3.2: the same request again, or ID_CONFLICT. The trace context does not count; fields are compared after decoding.
export function sameInvocation(first: Msg.Invocation, again: Msg.Invocation) {
  const digest = (i: Msg.Invocation) => encode('Invocation', { ...i, traceparent: '',
    input: i.input ?? { media_type: '', data: nothing }, policy: i.policy ?? { places: [] } })
  need(eq(digest(first), digest(again)), 'ID_CONFLICT', 'The id is already used for a request with other contents.', { id: again.id })
}
export const EVENT_BYTES = 32768, FIRST_WINDOW = 65536
const varintLength = (n: bigint) => { let l = 1; while (n > 127n) { n >>= 7n; l++ } return l }
// What an event counts: its serialized size without order_seq.
export const eventSize = (e: Draft<Msg.Event>): number =>
  e.$raw ? e.$raw.length - (e.order_seq ? 1 + varintLength(e.order_seq) : 0) : encode('Event', { ...e, order_seq: 0n }).length
