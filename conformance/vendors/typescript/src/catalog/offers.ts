// Offers, and the signed root that lists those of this grid (RFC 0008).
import { multihash, now } from '../core.ts'
import type { Chain } from '../identity.ts'
import { seal, TYPE, type SigningKey } from '../keys.ts'
import type * as Msg from '../messages.ts'
import { decode, encode, type Draft } from '../proto.ts'

export const HOUR = 3600000n

export interface Offer { bytes: Buffer; digest: Buffer; offer: Msg.Offer }
export const offerOf = (bytes: Buffer): Offer => ({ bytes, digest: multihash(bytes), offer: decode('Offer', bytes) })

interface Root { bytes: Buffer; digest: Buffer; root: Msg.CatalogRoot }
export interface OwnHost { chain: Chain; signingKey: SigningKey }

export class OwnOffers {
  list: Offer[] = []
  private made?: Root
  constructor(private readonly host: OwnHost) {}
  get root(): Root { return this.made ??= this.makeRoot() }
  set(offers: Draft<Msg.Offer>[]) {
    this.list = offers.map(o => offerOf(encode('Offer', o)))
    this.made = this.makeRoot()
  }
  // A new root, long before the last one expires.
  renew() { if (this.root.root.expires_at - now() < 12n * HOUR) this.made = this.makeRoot() }
  private makeRoot(): Root {
    const root = { origin: this.host.chain.fingerprint, version: now(), expires_at: now() + 24n * HOUR,
      offers: this.list.map(o => o.digest).sort(Buffer.compare) }
    const payload = encode('CatalogRoot', root)
    return { bytes: seal(TYPE.root, payload, [this.host.signingKey]), digest: multihash(payload), root }
  }
}
