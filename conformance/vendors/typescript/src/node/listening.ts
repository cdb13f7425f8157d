// Calls of peers: links that they open, and catalogs that they fetch (RFC 0005 section 3.3, RFC 0008 section 3.6).
import type { Catalog } from '../catalog/catalog.ts'
import { hex, need, Refusal } from '../core.ts'
import { refusalOf } from '../errors.ts'
import { readFrame, unwrap, wrap, type Stream, type Wire } from '../frames.ts'
import { message, type GrpcServer, type ServerCall } from '../grpc.ts'
import type { Link } from '../link.ts'
import { readOpen } from '../opening.ts'
import { encode } from '../proto.ts'
import type { Peers } from './peers.ts'

const SILENCE_MS = 10000

export interface ListeningHost {
  peers: Peers
  catalog: Catalog
  links: Map<string, Link>
  settled(link: Link): void                // a frame has been taken
}
export function servePeers(server: GrpcServer, host: ListeningHost) {
  server.handle('LinkService/Link', call => new Incoming(call, host).run())
  server.handle('LinkService/SyncCatalog', call => serveSync(call, host))
}
function linkOf(host: ListeningHost, genesis: Buffer, caller: string): Link {
  const link = host.links.get(hex(genesis))
  need(link && link.peer.name === caller, 'UNKNOWN_GENESIS', 'No peering with this grid begins at this genesis.')
  return link
}
async function serveSync(call: ServerCall, host: ListeningHost) {
  const caller = host.peers.callerOf(call), r = message('SyncCatalogRequest', await call.request())
  linkOf(host, r.genesis, caller)
  const have = new Set(r.have.map(hex))
  let n = 0n
  for (const o of host.catalog.offersOf(r.root)) {
    if (have.has(hex(o.digest))) continue
    call.write(encode('SyncCatalogResponse', { offer: o.bytes })); n++
    await call.drained()
  }
  call.write(encode('SyncCatalogResponse', { end: n })); call.end()
}

// A stream that a peer has opened; which link it is of is known with its first frame.
class Incoming {
  private readonly caller: string
  private readonly stream: Stream
  private readonly silent: NodeJS.Timeout
  private link: Link | null = null
  constructor(private readonly call: ServerCall, private readonly host: ListeningHost) {
    this.caller = host.peers.callerOf(call)
    const wire: Wire = { write: f => { call.write(wrap(f)) }, end: () => call.end(), cut: () => { if (!call.gone) call.cut() },
      get buffered() { return call.buffered } }
    this.stream = { wire, dialled: false, gotOpen: false, closed: false, since: Date.now() }
    const silent = new Refusal('SILENT_PEER', 'No frame has arrived.', { silence_ms: SILENCE_MS })
    this.silent = setTimeout(() => this.close(silent), SILENCE_MS)
  }
  run() {
    const call = this.call, ended = () => this.ended()
    call.onMessage = m => this.take(m)
    for (const m of call.takeQueued()) this.take(m)
    call.onEnd = ended; call.onGone = ended
    if (call.isEnded) ended()
  }
  private take(m: Buffer) {
    clearTimeout(this.silent)
    const bytes = unwrap(m)
    if (!this.link) this.first(bytes)
    if (!this.link) return
    this.link.receive(this.stream, bytes)
    this.host.settled(this.link)
  }
  private first(bytes: Buffer) {
    if (this.stream.closed) return
    try {
      const f = readFrame(bytes)
      if (f.close) { this.stream.closed = true; this.stream.wire.end(); return }
      need(f.open.length, 'UNEXPECTED_FRAME', 'The first frame is no Open.', { state: 'down' })
      this.link = linkOf(this.host, readOpen(f.open).open.genesis, this.caller)
    } catch (e) { this.close(refusalOf(e)) }
  }
  private close(why: Refusal) {
    const { stream } = this
    if (stream.closed) return
    stream.closed = true
    stream.wire.write(encode('Frame', { close: why.problem }))
    stream.wire.end(); setTimeout(() => stream.wire.cut(), 1000).unref()
  }
  private ended() {
    clearTimeout(this.silent)
    if (this.link) this.link.ended(this.stream)
    else if (!this.stream.closed) { this.stream.closed = true; this.stream.wire.end() }
  }
}
