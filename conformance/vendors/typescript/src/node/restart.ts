// Comes back to what was last written; links then converge (RFC 0002, IT-ARC-011; RFC 0009 section 3.15).
import type { Catalog } from '../catalog.ts'
import type { Consumers } from '../consumer/consumers.ts'
import { hopId } from '../core.ts'
import type { Link } from '../link.ts'
import type { Hold, Side } from '../log.ts'
import { Order, Placed, problemOf, type Finder, type Placer } from '../orders.ts'
import { decode } from '../proto.ts'
import { STATE } from '../execution.ts'
import { fromHex, type Store } from '../store.ts'
import type { Book } from './book.ts'
import type { Peering } from './peering.ts'
import { rateBetween } from './relay.ts'

export interface RestartHost extends Finder {
  secret: Buffer; ownKeys: Buffer[]; links: Map<string, Link>
  catalog: Catalog; consumers: Consumers; peering: Peering; store: Store
  book(link: Link): Book
}

export class Restart {
  private inputs = new Map<string, Buffer>()             // by the order's link, side and seq
  private sent = new Map<string, [Link, number]>()       // orders of this grid, by id
  private again: Placed[] = []
  constructor(private readonly host: RestartHost) {}

  run() {
    const { peering, catalog, consumers, store, links } = this.host
    peering.restore(store.read('peerings.jsonl'))
    catalog.restore(store.read('catalog.jsonl'))
    for (const link of links.values()) this.readLogs(link)
    for (const link of links.values()) for (const h of link.ledger.logs[1].holds.values()) if (h.state === 'OPEN') this.takeUp(link, h)
    consumers.restore(store.read('invocations.jsonl'), (name, seq, i) => {
      const link = links.get(name)
      return link?.ledger.logs[0].holds.has(seq) ? this.place(link, seq, i, true) : undefined
    })
    for (const p of this.again) p.retell()
  }
  private readLogs(link: Link) {
    const { ownKeys, catalog, store } = this.host
    for (const l of store.read(`link-${link.name}.jsonl`)) {
      const sig = fromHex(l.g)
      link.ledger.atomic(() => link.ledger.take(l.s, l.e.length ? l.f : 0, l.e.map(fromHex), decode('HeadSignature', sig), sig, l.s ? link.peer.keysEver : ownKeys))
      for (const [seq, data] of l.i) this.inputs.set(`${link.name} ${l.s} ${seq}`, fromHex(data))
    }
    catalog.restoreTariffs(link)
    for (const [seq, h] of link.ledger.logs[0].holds) this.sent.set(h.order.id, [link, seq])
  }
  private input(link: Link, side: Side, seq: number): Buffer { return this.inputs.get(`${link.name} ${side} ${seq}`) ?? Buffer.alloc(0) }
  // An order of a peer goes on where it was relayed; work of this grid's own is lost.
  private takeUp(link: Link, h: Hold) {
    const o = new Order(link, h, this.input(link, 1, h.seq), () => 0n)
    const below = this.sent.get(hopId(h.at, this.host.secret, link.ledger.head(1, h.seq), 0))
    this.host.book(link).orders.set(h.seq, o)
    if (below) this.goOn(o, ...below)
    else if (h.canceled) o.end({ state: STATE.CANCELED, quantities: [], usage: [], problem: problemOf('CANCELED', 'The order was canceled.') })
    else o.end({ state: STATE.FAILED, quantities: [], usage: [], problem: problemOf('EXECUTION_LOST', 'The node was restarted during the work.') })
  }
  private goOn(o: Order, link: Link, seq: number) {
    const tariff = this.host.catalog.ownTariff(o.link, Number(o.order.tariff_seq)), order = link.ledger.logs[0].holds.get(seq)!.order
    o.rate = rateBetween(tariff, link.ledger.logs[1].tariffs.get(Number(order.tariff_seq)), o)
    o.state = 'running'
    o.sink = this.place(link, seq, o, false)
  }
  private place(link: Link, seq: number, placer: Placer, returnsCredit: boolean): Placed {
    const h = link.ledger.logs[0].holds.get(seq)!, p = new Placed(this.host, link, h.order, this.input(link, 0, seq), placer, returnsCredit)
    p.take(h)
    this.host.book(link).placed.set(seq, p)
    this.again.push(p)
    return p
  }
}
