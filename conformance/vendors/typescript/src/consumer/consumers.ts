// The consumers of this grid: their accounts and all of their invocations, kept over restarts (RFC 0009).
import { hex, need, now, refuse } from '../core.ts'
import type { ServerCall } from '../grpc.ts'
import { offerOf } from '../catalog/offers.ts'
import type * as Msg from '../messages.ts'
import type { Placed } from '../placed.ts'
import { decode, encode } from '../proto.ts'
import { sameInvocation } from '../semantics.ts'
import { fromHex, type BeginLine, type EndLine } from '../store.ts'
import { accountOf, type Account } from './account.ts'
import { Invocation, type InvocationHost } from './invocation.ts'
import { examine, type StartHost } from './starting.ts'

export interface ConsumerHost extends InvocationHost, StartHost {}
export type Replace = (link: string, seq: number, i: Invocation) => Placed | undefined      // an order that was placed before a restart

export class Consumers {
  private running = new Set<Invocation>()
  private invocations = new Map<Account, Map<string, Invocation>>()     // by account and id
  constructor(readonly host: ConsumerHost, private readonly accounts: Account[]) {}
  account(call: ServerCall): Account { return accountOf(call, this.accounts) }
  of(a: Account): Map<string, Invocation> {
    let all = this.invocations.get(a)
    if (!all) this.invocations.set(a, all = new Map())
    return all
  }
  find(a: Account, id: string): Invocation { return this.of(a).get(id) ?? refuse('NOT_FOUND', 'There is no such invocation.') }

  start(a: Account, r: Msg.Invocation | undefined): Invocation {
    need(r, 'ID_INVALID', 'There is no invocation in the request.', { id: '' })
    const known = this.of(a).get(r.id)
    if (known) { sameInvocation(known.request, r); return known }
    const { listing, names, placing } = examine(this.host, a, r, this.running.size)
    const i = new Invocation(this.host, a, r, listing, names)
    if (placing) i.deadline = placing.order.deadline
    this.add(i)
    if (placing) i.place(placing.link, placing.order); else i.work()
    this.host.keep({ begin: r.id, account: a.name, request: hex(encode('Invocation', r)), created: String(i.createdAt),
      deadline: String(i.deadline), offer: hex(listing.offer.bytes), ref: listing.ref, own: listing.own,
      link: placing?.link.name, seq: i.placed?.seq, names: placing && names })
    return i
  }
  private add(i: Invocation) {
    i.account.reserved += i.request.max_charge
    this.of(i.account).set(i.id, i)
    this.running.add(i)
  }
  restore(lines: (BeginLine | EndLine)[], replace: Replace) {
    const ends = new Map(lines.flatMap(l => 'end' in l ? [[l.account + l.end, l]] : []))
    for (const l of lines) if ('begin' in l) this.restoreOne(l, ends.get(l.account + l.begin), replace)
  }
  private restoreOne(l: BeginLine, end: EndLine | undefined, replace: Replace) {
    const a = this.accounts.find(a => a.name === l.account)
    if (!a) return
    const listing = { ref: l.ref, offer: offerOf(fromHex(l.offer)), own: l.own, reach: true, version: 0n, grid: l.ref.split('/')[0] }
    const i = new Invocation(this.host, a, decode('Invocation', fromHex(l.request)), listing, l.names ?? [])
    this.add(i)
    i.restore(l, end, l.link !== undefined && l.seq !== undefined ? replace(l.link, l.seq, i) : undefined)
  }
  tick() {
    const t = now()
    for (const i of this.running) { i.tick(t); if (i.outcome && i.reserved === 0n) this.running.delete(i) }
  }
}
