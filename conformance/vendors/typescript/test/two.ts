// Two nodes peer, buy and sell, and one of them is killed in between: `npm run two`.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { newId } from '../src/core.ts'
import { ClientCall } from '../src/grpc.ts'
import { decode, encode, loadProtos } from '../src/proto.ts'

const root = join(import.meta.dirname, '..'), protocol = process.env.PROTOCOL ?? join(root, '../../../protocol'), base = mkdtempSync(join(tmpdir(), 'two-'))
loadProtos(join(protocol, 'proto/intertie/v1'))
interface Running { child: ChildProcess; info: any; ask(c: object): Promise<any>; call(path: string, req: string, res: string, m: any): Promise<any> }
async function start(name: string): Promise<Running> {
  const child = spawn('node', ['--import', 'tsx', 'src/main.ts'], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PROTOCOL: protocol, DIR: join(base, name), GRID: name + '.example', TOKEN: 'token-' + name, OTHER_TOKEN: 'other-' + name, FEE: '0' } })
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const info = JSON.parse((await lines.next()).value)
  const session = http2.connect('http://' + info.consumer)
  session.on('error', () => {})
  return { child, info,
    ask: async c => { child.stdin!.write(JSON.stringify(c) + '\n'); return JSON.parse((await lines.next()).value) },
    call: (path, req, res, m) => new Promise((done, failed) => {
      const c = new ClientCall(session, path, { authorization: 'Bearer token-' + name })
      let answer: any
      c.onMessage = b => { answer = decode(res, b) }
      c.onEnd = code => code === 0 ? done(answer) : failed(new Error(path + ' ended with ' + code))
      c.write(encode(req, m)); c.end()
    }) }
}
const check = (ok: any, what: string) => { console.log((ok ? 'ok    ' : 'WRONG ') + what); if (!ok) process.exitCode = 1 }
const wait = (ms: number) => new Promise(r => setTimeout(r, ms))
const until = async (what: string, fn: () => Promise<boolean>) => { for (let i = 0; i < 100; i++) { if (await fn().catch(() => false)) return check(true, what); await wait(200) } check(false, what) }
const invocation = (offer: string, input: string) => ({ invocation: { id: newId(), offer, input: { media_type: 'application/json', data: Buffer.from(input) }, max_charge: 1000n, timeout_ms: 20000n } })
const call = (n: Running, m: any) => n.call('InvocationService/Call', 'CallRequest', 'CallResponse', m).then(r => r.outcome)
const charge = (o: any) => Number(o.receipt.charge)

let a = await start('a'), b = await start('b'), c = await start('c')
const terms = { credit_limit: '100000000', max_unagreed: '10000000' }
check((await a.ask({ do: 'propose', address: b.info.public, fingerprint: (await b.ask({ do: 'self' })).fingerprint, ...terms })).genesis, 'a and b peer')
check((await b.ask({ do: 'propose', address: c.info.public, fingerprint: (await c.ask({ do: 'self' })).fingerprint, ...terms })).genesis, 'b and c peer')
await until('a lists what c sells', async () => (await a.call('CatalogService/Get', 'CatalogServiceGetRequest', 'CatalogServiceGetResponse', { ref: 'c.example/conformance/echo' })).offer.prices.length > 0)
let o = await call(a, invocation('b.example/conformance/meter', '{"usage": {"mcp.call": 2, "llm.output.token": 11}}'))
check(o.state === 5 && charge(o) === 17, `b meters for a: ${charge(o)}`)
o = await call(a, invocation('c.example/conformance/stream', '{"chunks": 3, "bytes": 7}'))
check(o.state === 5 && o.output.data.toString() === 'abcdefghijklmnopqrstu', `c streams for a over b: ${charge(o)}`)
check(o.receipt.path.join() === 'a.example,b.example,c.example' && o.receipt.executed_by === 'c.example', 'the receipt shows the path')

// The executor is killed during the work.
const slow = invocation('b.example/conformance/delay', '{"ms": 5000}'), asked = call(a, slow)
await wait(500)
b.child.kill('SIGKILL'); await wait(300)
b = await start('b')
o = await asked
check(o.state === 6 && o.problem.reason === 'EXECUTION_LOST', `work that was lost ends FAILED: ${o.problem?.reason}`)
// The relay is killed while c works.
const relayed = invocation('c.example/conformance/delay', '{"ms": 4000}')
await until('a reaches c again', async () => (await a.call('CatalogService/Get', 'CatalogServiceGetRequest', 'CatalogServiceGetResponse', { ref: 'c.example/conformance/echo' })).offer.prices.length > 0)
const going = call(a, relayed)
await wait(700)
b.child.kill('SIGKILL'); await wait(300)
b = await start('b')
o = await going
check(o.state === 5 && o.output.data.toString() === '{"ms": 4000}', `an order survives its relay: ${o.state} ${charge(o)} ${o.problem?.reason ?? ''}`)
// The consumer's node is killed while b works.
const mine = invocation('b.example/conformance/delay', '{"ms": 3000}')
call(a, mine).catch(() => {})
await wait(700)
a.child.kill('SIGKILL'); await wait(300)
a = await start('a')
o = await call(a, mine)
check(o.state === 5 && charge(o) === 10, `an invocation survives its node: ${o.state} ${charge(o)} ${o.problem?.reason ?? ''}`)
await wait(500)
const [la, lb] = [await a.ask({ do: 'links' }), await b.ask({ do: 'links' })], there = lb.find((l: any) => l.peer === 'a.example')
check(la[0].state === 'open' && la[0].owed === there.due && la[0].seqs.join() === there.seqs.reverse().join(), `both hold the same: ${JSON.stringify(la[0])}`)
for (const n of [a, b, c]) n.child.kill()
process.exit()
