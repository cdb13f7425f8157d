// Orders of peers: whether they are admitted, wait or are rejected, and who does the work (RFC 0009 section 3.6).
import { admit } from '../admit.ts'
import type { Catalog } from '../catalog/catalog.ts'
import type { Offer } from '../catalog/offers.ts'
import { hex, need, nothing, now, placeAllowed, Refusal, refuse } from '../core.ts'
import { Execution, type Prover, type Run } from '../execution.ts'
import { lastGrant, type Hold, type Taken } from '../holds.ts'
import type { Link } from '../link.ts'
import { LIMITS } from '../opening.ts'
import { Order } from '../orders.ts'
import { checkInput } from '../schema.ts'
import type { Book } from './book.ts'
import type { Relay } from './relay.ts'

export interface ProviderHost extends Prover {
  grid: string; place: string; draining: boolean; relays: boolean
  catalog: Catalog; relay: Relay
  book(link: Link): Book
  runOf(name: string): Run
}

export class Provider {
  constructor(private readonly host: ProviderHost) {}

  // `later` are the entries that came with it and behind it: the checks are made as if they were not there.
  arrived(book: Book, hold: Hold, later: Taken[]) {
    const o = new Order(book.link, hold, book.takeInput(hold.seq), () => book.waiting())
    book.orders.set(hold.seq, o)
    if (o.hold.state !== 'OPEN') { o.state = 'ended'; return }
    this.orReject(o, () => {
      const result = this.admit(o, later)
      if (o.hold.canceled) refuse('CANCELED', 'The order was canceled before it began.')
      if (result === 'waits') book.queue.push(o); else this.begin(o)
    })
  }
  private admit(o: Order, later: Taken[]): 'admitted' | 'waits' {
    const { host, host: { catalog: { finding, advertising } } } = this, { link, order } = o, { inline_bytes, input_bytes, orders } = LIMITS
    const offer = finding.byDigest(order.offer_digest), own = offer && finding.isOwn(offer.digest)
    return admit({ order, input: o.input, now: now(), draining: host.draining, suspended: link.suspended,
      own: { grid: host.grid, inline_bytes, input_bytes, orders },
      terms: { ...link.peerTerms, max_open_holds: link.agreement.max_open_holds, max_skew_ms: link.agreement.max_skew_ms },
      lane: laneBefore(link, later), offer: own || host.relays ? offer?.offer : undefined,
      tariff: advertising.ownTariff(link, Number(order.tariff_seq)),
      newestTariff: offer ? advertising.newestTariff(link, offer.offer.origin) : 0,
      fits: own ? input => checkInput(own.offer.input_schema, input) : undefined })
  }
  // Those that wait begin in their order, as far as there is room.
  retry(book: Book) {
    book.queue = book.queue.filter(o => o.state === 'waiting' && o.hold.state === 'OPEN')
    let behind = book.waiting()
    while (book.queue.length) {
      const o = book.queue[0]
      behind -= o.grant()
      if (book.link.ledger.unagreed(1) - behind > book.link.peerTerms.max_unagreed) break
      book.queue.shift()
      this.orReject(o, () => this.begin(o))
    }
  }
  private orReject(o: Order, fn: () => void) {
    try { fn() } catch (e) { if (!(e instanceof Refusal)) throw e; o.rejected(e.problem) }
  }
  private begin(o: Order) {
    const { catalog: { finding }, relay } = this.host, digest = o.order.offer_digest, offer = finding.byDigest(digest)
    need(offer, 'OFFER_UNKNOWN', 'The offer is not known any longer.', { offer: hex(digest) })
    if (finding.isOwn(digest)) this.work(o, offer); else relay.place(o, offer)
  }
  private work(o: Order, { offer, digest }: Offer) {
    const { host } = this, { order } = o, place = offer.place || host.place, places = order.policy?.places ?? []
    need(placeAllowed(places, place), 'POLICY_VIOLATION', 'The policy does not allow the place of the offer.', { place })
    o.state = 'running'
    const input = { media_type: order.input?.media_type ?? '', data: o.input }, inputDigest = order.input?.digest ?? nothing
    const x = new Execution(host, { offer, offerDigest: digest, run: host.runOf(offer.name), input, inputDigest, nonce: order.nonce,
      prices: order.prices, maxCharge: order.max_charge, deadline: order.deadline }, o)
    o.sink = x
    host.book(o.link).running.add(o)
    x.start()
  }
}
// The sums of the payer's lane without the orders that are still to be looked at.
function laneBefore(link: Link, later: Taken[]): { gross: bigint; unagreed: bigint; open: number } {
  const lane = { gross: link.ledger.gross(1), unagreed: link.ledger.unagreed(1), open: link.ledger.lanes[1].open }
  for (const { entry, hold } of later) if (hold && entry.order && hold.state === 'OPEN') {
    lane.gross -= hold.order.max_charge; lane.unagreed -= lastGrant(hold); lane.open--
  }
  return lane
}
