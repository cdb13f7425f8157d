// Starts a node; its first line on stdout says where it is reached. Settings come from the environment: see README.md.
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import { Refusal } from './core.ts'
import { loadErrors } from './errors.ts'
import type { Link } from './link.ts'
import { Node } from './node/node.ts'
import { loadProtos } from './proto.ts'

const env = process.env, protocol = env.PROTOCOL ?? join(import.meta.dirname, '../../../../protocol')
loadProtos(join(protocol, 'proto/intertie/v1'))
loadErrors(join(protocol, 'registry/errors.toml'))
process.on('uncaughtException', e => console.error(e))
process.on('unhandledRejection', e => console.error(e))
process.on('SIGTERM', () => process.exit(0))
const secretText = () => randomBytes(24).toString('base64url')
const token = env.TOKEN ?? secretText(), other = env.OTHER_TOKEN ?? secretText(), budget = BigInt(env.BUDGET ?? '1000000000000')
const node = new Node({
  dir: env.DIR ?? 'data', grid: env.GRID ?? 'node-ts.example', place: env.PLACE ?? 'DE', host: env.HOST ?? '127.0.0.1',
  publicPort: Number(env.PUBLIC_PORT ?? 0), peerPort: Number(env.PEER_PORT ?? 0), consumerPort: Number(env.CONSUMER_PORT ?? 0),
  accept: env.ACCEPT === undefined || env.ACCEPT === 'auto' ? 'auto' : 'manual', relays: env.RELAY !== '0',
  markup: { num: BigInt(env.MARKUP_NUM ?? '11'), den: BigInt(env.MARKUP_DEN ?? '10'), fee: BigInt(env.FEE ?? '5') },
  outage: BigInt(env.OUTAGE_MS ?? '1000'),
  accounts: [{ name: 'first', token, budget }, { name: 'second', token: other, budget }],
})
await node.start()
const { ports } = node
console.log(JSON.stringify({
  public: `127.0.0.1:${ports.public}`, consumer: `127.0.0.1:${ports.consumer}`, token, other_token: other, accept: 'auto' }))

// The operator's face: one JSON object a line on stdin, one answer a line on stdout.
type Command =
  | { do: 'self' } | { do: 'links' }
  | { do: 'accept'; digest: string }
  | { do: 'propose'; address: string; fingerprint: string; credit_limit: string; max_unagreed: string }
  | { do: 'suspend' | 'resume'; genesis: string }

async function obey(c: Command): Promise<object> {
  switch (c.do) {
    case 'self': return { grid: node.grid, fingerprint: node.chain.name }
    case 'accept': node.peering.accept(c.digest); return { accepted: c.digest }
    case 'propose': {
      const limits = { credit_limit: BigInt(c.credit_limit), max_unagreed: BigInt(c.max_unagreed) }
      return { genesis: await node.peering.proposeTo(c.address, c.fingerprint, limits) }
    }
    case 'suspend': case 'resume': {
      const link = node.links.get(c.genesis)
      if (link) link.suspended = c.do === 'suspend'
      return { [c.do]: c.genesis }
    }
    case 'links': return [...node.links.values()].map(shown)
    default: return { error: 'unknown' }
  }
}
const shown = ({ name, peer, state, ledger }: Link) => ({ genesis: name, peer: peer.grid, state, seqs: [ledger.seq(0), ledger.seq(1)],
  owed: String(ledger.total(0)), due: String(ledger.logs[1].total) })
const answer = async (line: string) => obey(JSON.parse(line))
const failure = (e: unknown) => ({ error: e instanceof Refusal ? e.reason : String(e) })
createInterface({ input: process.stdin }).on('line', async line => console.log(JSON.stringify(await answer(line).catch(failure))))
