// Starts a node; its first line on stdout says where it is reached. Settings come from the environment: see README.md.
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { randomBytes } from 'node:crypto'
import { loadErrors } from './errors.ts'
import { Node } from './node/node.ts'
import { loadProtos } from './proto.ts'

const env = process.env, protocol = env.PROTOCOL ?? join(import.meta.dirname, '../../../../protocol')
loadProtos(join(protocol, 'proto/intertie/v1'))
loadErrors(join(protocol, 'registry/errors.toml'))
process.on('uncaughtException', e => console.error(e))
process.on('unhandledRejection', e => console.error(e))
process.on('SIGTERM', () => process.exit(0))
const token = env.TOKEN ?? randomBytes(24).toString('base64url'), other = env.OTHER_TOKEN ?? randomBytes(24).toString('base64url')
const budget = BigInt(env.BUDGET ?? '1000000000000')
const node = new Node({ dir: env.DIR ?? 'data', grid: env.GRID ?? 'node-ts.example', place: env.PLACE ?? 'DE', host: env.HOST ?? '127.0.0.1',
  publicPort: Number(env.PUBLIC_PORT ?? 0), peerPort: Number(env.PEER_PORT ?? 0), consumerPort: Number(env.CONSUMER_PORT ?? 0), accept: (env.ACCEPT ?? 'auto') as any,
  relays: env.RELAY !== '0', markup: { num: BigInt(env.MARKUP_NUM ?? '11'), den: BigInt(env.MARKUP_DEN ?? '10'), fee: BigInt(env.FEE ?? '5') }, outage: BigInt(env.OUTAGE_MS ?? '1000'),
  accounts: [{ name: 'first', token, budget }, { name: 'second', token: other, budget }] })
await node.start()
console.log(JSON.stringify({ public: `127.0.0.1:${node.ports.public}`, consumer: `127.0.0.1:${node.ports.consumer}`, token, other_token: other, accept: 'auto' }))

// The operator's face: one JSON object a line on stdin, one answer a line on stdout.
createInterface({ input: process.stdin }).on('line', async line => {
  try {
    const c = JSON.parse(line)
    if (c.do === 'self') console.log(JSON.stringify({ grid: node.grid, fingerprint: node.chain.name }))
    else if (c.do === 'accept') { node.peering.accept(c.digest); console.log(JSON.stringify({ accepted: c.digest })) }
    else if (c.do === 'propose') console.log(JSON.stringify({ genesis: await node.peering.proposeTo(c.address, c.fingerprint, { credit_limit: BigInt(c.credit_limit), max_unagreed: BigInt(c.max_unagreed) }) }))
    else if (c.do === 'suspend' || c.do === 'resume') { const l = node.links.get(c.genesis); if (l) l.suspended = c.do === 'suspend'; console.log(JSON.stringify({ [c.do]: c.genesis })) }
    else if (c.do === 'links') console.log(JSON.stringify([...node.links.values()].map(l => ({ genesis: l.name, peer: l.peer.grid, state: l.state, seqs: [l.ledger.seq(0), l.ledger.seq(1)], owed: String(l.ledger.total(0)), due: String(l.ledger.logs[1].total) }))))
    else console.log(JSON.stringify({ error: 'unknown' }))
  } catch (e: any) { console.log(JSON.stringify({ error: e.reason ?? String(e) })) }
})
