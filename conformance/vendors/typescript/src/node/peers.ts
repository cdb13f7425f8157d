// The grids that are peered with: their pinned chains, and whose a certificate, a name or a fingerprint is (RFC 0004).
import type { Catalog } from '../catalog/catalog.ts'
import { eq, hex, refuse, sha256 } from '../core.ts'
import type { ServerCall } from '../grpc.ts'
import { checkUpdate, type Chain } from '../identity.ts'
import type { Link } from '../link.ts'
import type { Store } from '../store.ts'
import { checkCertificates } from '../x509.ts'

export interface PeersHost { chain: Chain; grid: string; catalog: Catalog; links: Map<string, Link>; store: Store }

export class Peers {
  private chains = new Map<string, Chain>()              // pinned, by fingerprint
  private byCertificate = new Map<string, string>()      // digest of a certificate -> fingerprint of the grid that lists it
  private byName = new Map<string, string>()
  constructor(private readonly host: PeersHost) {}

  chain(fingerprint: string): Chain | undefined { return this.chains.get(fingerprint) }
  pinned(grid: string): string | undefined { return grid === this.host.grid ? this.host.chain.name : this.byName.get(grid) }
  callerOf(call: ServerCall): string {
    const der = call.peerCertificate
    return (der && this.byCertificate.get(hex(sha256(der)))) ?? refuse('UNKNOWN_PEER', 'No peering with this grid is known.')
  }
  gridName(fingerprint: Buffer): string {
    const name = hex(fingerprint)
    if (eq(fingerprint, this.host.chain.fingerprint)) return this.host.grid
    return (this.chains.get(name) ?? this.host.catalog.routes.chains.get(name))?.grid ?? name
  }
  // Gives the chain that counts: the one that was pinned before may be newer.
  add(chain: Chain): Chain {
    const { routes } = this.host.catalog
    if (!this.chains.has(chain.name)) this.pin(chain)
    this.update(chain)
    routes.claimName(chain.grid, chain.name)
    if (!routes.chains.has(chain.name)) routes.chains.set(chain.name, chain)
    return this.chains.get(chain.name) ?? chain
  }
  // A newer chain of a peer, whichever way it came.
  update(chain: Chain) {
    const held = this.chains.get(chain.name), { catalog: { routes }, links, store } = this.host
    if (held && chain.length > held.length) {
      try { checkUpdate(held, chain); checkCertificates(chain.last.descriptor.certificates, chain.grid) } catch { return }
      this.pin(chain)
      store.append('peerings.jsonl', { chain: chain.envelopes.map(hex) })
      for (const l of links.values()) if (l.peer.name === chain.name) l.peer = chain
    }
    const seen = routes.chains.get(chain.name)
    if (held && (!seen || seen.length < chain.length)) routes.chains.set(chain.name, chain)
  }
  private pin(chain: Chain) {
    const list = (c?: Chain): Buffer[] => c?.last.descriptor.certificates ?? []
    for (const c of list(this.chains.get(chain.name))) this.byCertificate.delete(hex(sha256(c)))
    for (const c of list(chain)) this.byCertificate.set(hex(sha256(c)), chain.name)
    this.byName.set(chain.grid, chain.name)
    this.chains.set(chain.name, chain)
  }
}
