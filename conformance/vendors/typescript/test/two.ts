// Two nodes peer, buy and sell, and one of them is killed in between: `npm run two`.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import http2 from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { newId } from '../src/core.ts'
import { ClientCall } from '../src/grpc.ts'
import type * as Msg from '../src/messages.ts'
import type { Messages } from '../src/messages.ts'
import { decode, encode, loadProtos, type Draft } from '../src/proto.ts'

type Type = keyof Messages
interface Running {
  child: ChildProcessByStdio<Writable, Readable, null>
  info: { public: string; consumer: string }
  ask<A>(c: object): Promise<A>
  call<Q extends Type, A extends Type>(path: string, request: Q, answer: A, m: Draft<Messages[Q]>): Promise<Messages[A]>
}
interface LinkShown { peer: string; state: string; seqs: number[]; owed: string; due: string }

const root = join(import.meta.dirname, '..'), protocol = process.env.PROTOCOL ?? join(root, '../../../protocol')
const base = mkdtempSync(join(tmpdir(), 'two-'))
loadProtos(join(protocol, 'proto/intertie/v1'))

async function start(name: string): Promise<Running> {
  const env = { ...process.env, PROTOCOL: protocol, DIR: join(base, name), GRID: name + '.example', TOKEN: 'token-' + name,
    OTHER_TOKEN: 'other-' + name, FEE: '0' }
  const child = spawn('node', ['--import', 'tsx', 'src/main.ts'], { cwd: root, stdio: ['pipe', 'pipe', 'inherit'], env })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async () => JSON.parse((await lines.next()).value ?? '')
  const info: Running['info'] = await line(), session = http2.connect('http://' + info.consumer)
  session.on('error', () => {})
  return { child, info,
    ask: async c => { child.stdin.write(JSON.stringify(c) + '\n'); return line() },
    call: async (path, request, answer, m) => decode(answer, await last(session, path, 'token-' + name, encode(request, m))) }
}
// The last message of a call's answer.
function last(session: http2.ClientHttp2Session, path: string, token: string, request: Buffer): Promise<Buffer> {
  return new Promise((done, failed) => {
    const c = new ClientCall(session, path, { authorization: 'Bearer ' + token })
    let answer: Buffer = Buffer.alloc(0)
    c.onMessage = b => { answer = b }
    c.onEnd = code => code === 0 ? done(answer) : failed(new Error(path + ' ended with ' + code))
    c.write(request)
    c.end()
  })
}
const check = (ok: boolean, what: string) => {
  console.log((ok ? 'ok    ' : 'WRONG ') + what)
  if (!ok) process.exitCode = 1
}
const wait = (ms: number) => new Promise(r => setTimeout(r, ms))
async function until(what: string, fn: () => Promise<boolean>) {
  for (let i = 0; i < 100; i++) {
    if (await fn().catch(() => false)) { check(true, what); return }
    await wait(200)
  }
  check(false, what)
}
const invocation = (offer: string, text: string) => {
  const input = { media_type: 'application/json', data: Buffer.from(text) }
  return { invocation: { id: newId(), offer, input, max_charge: 1000n, timeout_ms: 20000n } }
}
async function call(n: Running, m: Draft<Msg.CallRequest>): Promise<Msg.Outcome> {
  const { outcome } = await n.call('InvocationService/Call', 'CallRequest', 'CallResponse', m)
  if (!outcome) throw new Error('no outcome')
  return outcome
}
const charge = (o: Msg.Outcome) => Number(o.receipt?.charge), text = (o: Msg.Outcome) => o.output?.data.toString()
async function peer(n: Running, other: Running, what: string) {
  const { fingerprint } = await other.ask<{ fingerprint: string }>({ do: 'self' })
  const terms = { credit_limit: '100000000', max_unagreed: '10000000' }
  const { genesis } = await n.ask<{ genesis?: string }>({ do: 'propose', address: other.info.public, fingerprint, ...terms })
  check(!!genesis, what)
}
const reaches = async (n: Running, ref: string) => {
  const r = await n.call('CatalogService/Get', 'CatalogServiceGetRequest', 'CatalogServiceGetResponse', { ref })
  return !!r.offer?.prices.length
}

let a = await start('a'), b = await start('b')
const c = await start('c')
await peer(a, b, 'a and b peer')
await peer(b, c, 'b and c peer')
await until('a lists what c sells', () => reaches(a, 'c.example/conformance/echo'))
let o = await call(a, invocation('b.example/conformance/meter', '{"usage": {"mcp.call": 2, "llm.output.token": 11}}'))
check(o.state === 5 && charge(o) === 17, `b meters for a: ${charge(o)}`)
o = await call(a, invocation('c.example/conformance/stream', '{"chunks": 3, "bytes": 7}'))
check(o.state === 5 && text(o) === 'abcdefghijklmnopqrstu', `c streams for a over b: ${charge(o)}`)
const path = o.receipt?.path.join(), executor = o.receipt?.executed_by
check(path === 'a.example,b.example,c.example' && executor === 'c.example', 'the receipt shows the path')

// The executor is killed during the work.
const slow = invocation('b.example/conformance/delay', '{"ms": 5000}'), asked = call(a, slow)
await wait(500)
b.child.kill('SIGKILL'); await wait(300)
b = await start('b')
o = await asked
check(o.state === 6 && o.problem?.reason === 'EXECUTION_LOST', `work that was lost ends FAILED: ${o.problem?.reason}`)
// The relay is killed while c works.
const relayed = invocation('c.example/conformance/delay', '{"ms": 4000}')
await until('a reaches c again', () => reaches(a, 'c.example/conformance/echo'))
const going = call(a, relayed)
await wait(700)
b.child.kill('SIGKILL'); await wait(300)
b = await start('b')
o = await going
check(o.state === 5 && text(o) === '{"ms": 4000}', `an order survives its relay: ${o.state} ${charge(o)} ${o.problem?.reason ?? ''}`)
// The consumer's node is killed while b works.
const mine = invocation('b.example/conformance/delay', '{"ms": 3000}')
call(a, mine).catch(() => {})
await wait(700)
a.child.kill('SIGKILL'); await wait(300)
a = await start('a')
o = await call(a, mine)
check(o.state === 5 && charge(o) === 10, `an invocation survives its node: ${o.state} ${charge(o)} ${o.problem?.reason ?? ''}`)
await wait(500)
const [here] = await a.ask<LinkShown[]>({ do: 'links' })
const there = (await b.ask<LinkShown[]>({ do: 'links' })).find(l => l.peer === 'a.example')
const equal = here.owed === there?.due && here.seqs.join() === there.seqs.reverse().join()
check(here.state === 'open' && equal, `both hold the same: ${JSON.stringify(here)}`)
for (const n of [a, b, c]) n.child.kill()
process.exit()
