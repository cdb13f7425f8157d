// Comes back to what was last written; links then converge (RFC 0002, IT-ARC-011; RFC 0009 section 3.15).
import type { Rate } from '../amounts.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Consumers } from '../consumer/consumers.ts'
import { hopId, nothing } from '../core.ts'
import { problemOf } from '../errors.ts'
import { failed, STATE } from '../execution.ts'
import type { Hold, Side } from '../holds.ts'
import type { Link } from '../link.ts'
import { Order } from '../orders.ts'
import { Placed, type Finder, type Placer } from '../placed.ts'
import { decode } from '../proto.ts'
import { fromHex, type LinkLine, type Store } from '../store.ts'
import type { Book } from './book.ts'
import type { Peering } from './peering.ts'
import { rateBetween } from './relay.ts'

// Where a log has dropped one of the two tariffs: it keeps the newest alone.
const UNCHANGED: Rate = { num: 1n, den: 1n, fee: 0n, lines: 0n }

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
    catalog.routes.restore(store.read('catalog.jsonl'))
    for (const link of links.values()) this.readLogs(link)
    for (const link of links.values()) this.takeUpAll(link)
    consumers.restore(store.read('invocations.jsonl'), (name, seq, i) => {
      const link = links.get(name)
      return link && this.place(link, seq, i, true)
    })
    for (const p of this.again) p.retell()
  }
  private readLogs(link: Link) {
    const { catalog, store } = this.host
    for (const l of store.read(`link-${link.name}.jsonl`)) this.readGroup(link, l)
    catalog.advertising.restoreTariffs(link)
    for (const [seq, h] of link.ledger.logs[0].holds) this.sent.set(h.order.id, [link, seq])
  }
  private readGroup(link: Link, l: LinkLine) {
    const bytes = fromHex(l.g), given = { first: l.f, entries: l.e.map(fromHex), sig: decode('HeadSignature', bytes), bytes }
    link.ledger.atomic(() => link.ledger.take(l.s, given, l.s ? link.peer.keysEver : this.host.ownKeys))
    for (const [seq, data] of l.i) this.inputs.set(`${link.name} ${l.s} ${seq}`, fromHex(data))
  }
  private input(link: Link, side: Side, seq: number): Buffer { return this.inputs.get(`${link.name} ${side} ${seq}`) ?? nothing }
  private takeUpAll(link: Link) { for (const h of link.ledger.logs[1].holds.values()) if (h.state === 'OPEN') this.takeUp(link, h) }
  // An order of a peer goes on where it was relayed; work of this grid's own is lost.
  private takeUp(link: Link, h: Hold) {
    const o = new Order(link, h, this.input(link, 1, h.seq), () => 0n)
    const below = this.sent.get(hopId(h.at, this.host.secret, link.ledger.head(1, h.seq), 0))
    this.host.book(link).orders.set(h.seq, o)
    if (below) this.goOn(o, ...below)
    else if (h.canceled) o.end({ ...failed(problemOf('CANCELED', 'The order was canceled.')), state: STATE.CANCELED })
    else o.end(failed(problemOf('EXECUTION_LOST', 'The node was restarted during the work.')))
  }
  private goOn(o: Order, link: Link, seq: number) {
    const p = this.place(link, seq, o, false), up = this.host.catalog.advertising.ownTariff(o.link, Number(o.order.tariff_seq))
    const below = p && link.ledger.logs[1].tariffs.get(Number(p.order.tariff_seq))
    if (!p) throw new Error(`order ${o.order.id} was placed and has no hold`)
    o.rate = up && below ? rateBetween(up, below, o) : UNCHANGED
    o.state = 'running'
    o.sink = p
  }
  private place(link: Link, seq: number, placer: Placer, returnsCredit: boolean): Placed | undefined {
    const h = link.ledger.logs[0].holds.get(seq)
    if (!h) return undefined
    const p = new Placed(this.host, link, h.order, this.input(link, 0, seq), placer, returnsCredit)
    p.take(h)
    this.host.book(link).placed.set(seq, p)
    this.again.push(p)
    return p
  }
}
