// The catalog: own offers, what is heard of others, what neighbours are told, and what all of it is looked up in (RFC 0008).
import { eq, hex } from '../core.ts'
import type { Link } from '../link.ts'
import { Advertising, type AdvertisingHost } from './advertising.ts'
import { Finding, type FindingHost } from './finding.ts'
import { OwnOffers, type Offer } from './offers.ts'
import { Routes, type RoutesHost } from './routes.ts'

const SHORTEST_PAUSE_MS = 200, LONGEST_PAUSE_MS = 2000

export interface CatalogHost extends RoutesHost, AdvertisingHost, FindingHost {}

export class Catalog {
  readonly own: OwnOffers
  readonly routes: Routes
  readonly advertising: Advertising
  readonly finding: Finding
  readonly watchers = new Set<() => void>()
  private timer?: NodeJS.Timeout
  private again = false
  private pause = SHORTEST_PAUSE_MS
  constructor(private readonly host: CatalogHost) {
    const changed = () => this.changed()
    this.own = new OwnOffers(host)
    this.routes = new Routes(host, changed)
    this.advertising = new Advertising(host, this.own, this.routes, changed)
    this.finding = new Finding(host, this.own, this.routes)
  }

  opened(link: Link) {
    this.routes.opened(link)
    this.advertising.opened(link)
    this.changed()
  }
  lost(link: Link) {
    this.routes.lost(link)
    this.changed()
  }
  private changed() {
    if (this.timer) this.again = true
    for (const w of this.watchers) w()
    this.timer ??= setTimeout(() => void this.tellAll(), this.pause)
  }
  // Rounds that cost much are made less often.
  private async tellAll() {
    const began = process.cpuUsage().user
    await this.advertising.roundForAll()
    this.pause = Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, (process.cpuUsage().user - began) / 1000 * 3))
    this.timer = undefined
    if (this.again) { this.again = false; this.changed() }
  }
  tick() {
    this.own.renew()
    for (const l of this.host.links.values()) if (l.writable) void this.advertising.round(l)
  }
  // Those that a root lists, for a neighbour that fetches them.
  offersOf(root: Buffer): Offer[] {
    if (eq(root, this.own.root.digest)) return this.own.list
    for (const [, r] of this.routes.all())
      if (eq(r.rootDigest, root)) return r.root.offers.flatMap(d => this.routes.offers.get(hex(d)) ?? [])
    return this.own.list
  }
}
