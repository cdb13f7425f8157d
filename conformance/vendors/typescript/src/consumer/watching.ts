// CatalogService.Watch: all offers in reach, and then whatever changes of them (RFC 0008 section 3.10).
import type { Catalog } from '../catalog/catalog.ts'
import { hex, sha256 } from '../core.ts'
import type { ServerCall } from '../grpc.ts'
import type * as Msg from '../messages.ts'
import { encode, type Draft } from '../proto.ts'

export class CatalogWatch {
  private told = new Map<string, string>()      // ref -> digest of what was said of it
  private synced = false
  private scheduled = false
  constructor(private readonly call: ServerCall, private readonly catalog: Catalog) {}

  run() {
    this.catalog.watchers.add(this.later)
    this.tell()
    this.call.onGone = () => this.catalog.watchers.delete(this.later)
  }
  private later = () => {
    if (this.scheduled) return
    this.scheduled = true
    setTimeout(() => this.tell(), 50)
  }
  private tell() {
    this.scheduled = false
    if (this.call.gone) { this.catalog.watchers.delete(this.later); return }
    const seen = new Set<string>(), { finding } = this.catalog
    for (const l of finding.listings().values()) if (l.reach) { seen.add(l.ref); this.upsert(finding.show(l)) }
    for (const ref of [...this.told.keys()]) if (!seen.has(ref)) { this.told.delete(ref); this.say({ removed: ref }) }
    if (!this.synced) { this.synced = true; this.say({ synced: true }) }
  }
  private upsert(shown: Msg.ListedOffer) {
    const { ref } = shown, print = hex(sha256(encode('ListedOffer', shown)))
    if (this.told.get(ref) === print) return
    this.told.set(ref, print)
    this.say({ upsert: shown })
  }
  private say(item: Draft<Msg.WatchResponse>) { this.call.write(encode('WatchResponse', item)) }
}
