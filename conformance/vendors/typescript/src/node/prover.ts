// Proofs of execution records: those that end in one turn are signed together under one root (RFC 0010 section 3.6).
import { now } from '../core.ts'
import type { Chain } from '../identity.ts'
import { seal, TYPE, type SigningKey } from '../keys.ts'
import type * as Msg from '../messages.ts'
import { encode } from '../proto.ts'
import { tree } from '../records.ts'

export class BatchProver {
  private batch: { record: Buffer; done: (proof: Msg.RecordProof) => void }[] = []
  constructor(private readonly host: { chain: Chain; signingKey: SigningKey }) {}
  prove(record: Buffer): Promise<Msg.RecordProof> {
    return new Promise(done => {
      this.batch.push({ record, done })
      if (this.batch.length === 1) setImmediate(() => this.sign())
    })
  }
  private sign() {
    const list = this.batch.splice(0), t = tree(list.map(b => b.record))
    const { fingerprint } = this.host.chain, size = BigInt(list.length)
    const payload = encode('RecordRoot', { executor: fingerprint, root: t.root, size, signed_at: now() })
    const root = seal(TYPE.record, payload, [this.host.signingKey])
    for (const [i, b] of list.entries()) b.done({ record: b.record, root, index: BigInt(i), path: t.paths[i] })
  }
}
