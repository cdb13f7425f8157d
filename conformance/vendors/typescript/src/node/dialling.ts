// Calls to peers: links that this grid keeps up, and what it fetches (RFC 0005 sections 3.4 and 3.5, RFC 0008 section 3.6).
import type { ClientHttp2Session } from 'node:http2'
import type { SecureContext } from 'node:tls'
import { eq, nothing } from '../core.ts'
import { unwrap, wrap, type Wire } from '../frames.ts'
import { callUnary, ClientCall, connect } from '../grpc.ts'
import { verifyChain } from '../identity.ts'
import type { Link } from '../link.ts'
import { decode, encode } from '../proto.ts'
import type { Peers } from './peers.ts'

const ASK_AGAIN_MS = 10000, STOOD_MS = 2000

export interface DiallingHost {
  context: SecureContext
  peers: Peers
  settled(link: Link): void                // a frame has been taken
}

export class Dialling {
  constructor(private readonly host: DiallingHost) {}

  // Dials whenever the link is down; where that fails for long, the peer may have moved.
  async keepUp(link: Link): Promise<void> {
    for (let delay = 100, asked = 0; ; ) {
      const before = Date.now()
      if (link.state === 'down' && link.peer.endpoints(2).length) {
        const failed = await this.dial(link).then(() => false, () => true)
        if (failed && Date.now() - asked > ASK_AGAIN_MS) { asked = Date.now(); await this.askChain(link).catch(() => {}) }
        if (Date.now() - before > STOOD_MS) delay = 100
      }
      await new Promise(r => setTimeout(r, delay * (0.5 + Math.random() / 2)))
      delay = link.state === 'down' ? Math.min(4000, delay * 2) : 100
    }
  }
  private connectPeer(link: Link, address: string): Promise<ClientHttp2Session> {
    const admit = (der: Buffer) => link.peer.last.descriptor.certificates.some(c => eq(c, der))
    return connect(address, { context: this.host.context, grid: link.peer.grid, admit })
  }
  private async dial(link: Link) {
    const session = await this.connectPeer(link, link.peer.endpoints(2)[0])
    if (link.state !== 'down') { session.close(); return }
    const call = new ClientCall(session, 'LinkService/Link')
    const wire: Wire = { write: f => call.write(wrap(f)), end: () => call.end(), cut: () => { call.cut(); session.destroy() },
      get buffered() { return call.buffered } }
    const stream = link.dialled(wire)
    if (!stream) return
    call.onMessage = m => { link.receive(stream, unwrap(m)); this.host.settled(link) }
    await new Promise<void>(done => { call.onEnd = () => { link.ended(stream); session.destroy(); done() } })
  }
  private async askChain(link: Link) {
    const address = link.peer.endpoints(1)[0]
    if (!address) return
    let presented: Buffer = nothing
    const session = await connect(address, { admit: der => { presented = der; return true }, grid: link.peer.grid })
    try {
      const answers = await callUnary(session, 'DirectoryService/GetDescriptor', encode('GetDescriptorRequest', {}))
      const chain = verifyChain(decode('GetDescriptorResponse', answers[0]).descriptors)
      const { certificates } = chain.last.descriptor
      if (chain.name === link.peer.name && certificates.some(c => eq(c, presented))) this.host.peers.update(chain)
    } finally { session.destroy() }
  }
  // The offers of a root that are not had yet.
  async sync(link: Link, root: Buffer, have: Buffer[]): Promise<Buffer[]> {
    const address = link.peer.endpoints(2)[0]
    if (!address) throw new Error('no endpoint')
    const session = await this.connectPeer(link, address)
    try {
      const request = encode('SyncCatalogRequest', { genesis: link.genesis, root, have })
      const answers = await callUnary(session, 'LinkService/SyncCatalog', request)
      const items = answers.map(m => decode('SyncCatalogResponse', m))
      if (items.at(-1)?.end !== BigInt(items.length - 1)) throw new Error('no end')
      return items.slice(0, -1).map(i => i.offer ?? nothing)
    } finally { session.destroy() }
  }
}
