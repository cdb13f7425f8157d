// The consumer face: its services and methods, as a server offers them (RFC 0009 section 3.14).
import { need } from '../core.ts'
import { message, type GrpcServer } from '../grpc.ts'
import type { Messages } from '../messages.ts'
import { encode, type Draft } from '../proto.ts'
import type { Account } from './account.ts'
import type { Consumers } from './consumers.ts'
import { follow, gather } from './following.ts'
import { Pages } from './pages.ts'
import { InvocationStream } from './stream.ts'
import { CatalogWatch } from './watching.ts'

export function serveConsumers(server: GrpcServer, consumers: Consumers) {
  const pages = new Pages(consumers.host.secret)
  serveStarting(server, consumers)
  serveInvocations(server, consumers, pages)
  serveAccount(server, consumers, pages)
  serveCatalog(server, consumers, pages)
}
// A method of one request and one answer.
type Type = keyof Messages
type Method<Q extends Type, A extends Type> = (a: Account, r: Messages[Q]) => Draft<Messages[A]>
const unary = <Q extends Type, A extends Type>(
  s: GrpcServer, all: Consumers, path: string, request: Q, response: A, fn: Method<Q, A>,
) => s.handle(path, async call => {
  const a = all.account(call)
  call.write(encode(response, fn(a, message(request, await call.request()))))
  call.end()
})

function serveStarting(s: GrpcServer, all: Consumers) {
  s.handle('InvocationService/Call', async call => {
    const a = all.account(call)
    await gather(call, all.start(a, message('CallRequest', await call.request()).invocation))
  })
  s.handle('InvocationService/Invoke', async call => {
    const a = all.account(call)
    await follow(call, all.start(a, message('InvokeRequest', await call.request()).invocation), 0n, 'InvokeResponse')
  })
  s.handle('InvocationService/Subscribe', async call => {
    const a = all.account(call), r = message('SubscribeRequest', await call.request())
    await follow(call, all.find(a, r.id), r.after_seq, 'SubscribeResponse')
  })
  s.handle('InvocationService/Stream', call => new InvocationStream(call, all).run())
}
function serveInvocations(s: GrpcServer, all: Consumers, pages: Pages) {
  unary(s, all, 'InvocationService/SendInput', 'SendInputRequest', 'SendInputResponse', (a, r) => {
    all.find(a, r.id).sendInput(r.reply)
    return {}
  })
  unary(s, all, 'InvocationService/Cancel', 'CancelRequest', 'CancelResponse', (a, r) => {
    const i = all.find(a, r.id)
    i.cancel()
    return { status: i.status() }
  })
  unary(s, all, 'InvocationService/Get', 'InvocationServiceGetRequest', 'InvocationServiceGetResponse',
    (a, r) => ({ status: all.find(a, r.id).status() }))
  unary(s, all, 'InvocationService/List', 'ListRequest', 'ListResponse', (a, r) => {
    const asked = [...all.of(a).values()].filter(i => !r.states.length || r.states.includes(i.state))
    const [page, next_page_token] = pages.newest(asked, r)
    return { invocations: page.map(i => i.status()), next_page_token }
  })
}
function serveAccount(s: GrpcServer, all: Consumers, pages: Pages) {
  const { asset, scale } = all.host
  unary(s, all, 'AccountService/GetAccount', 'GetAccountRequest', 'GetAccountResponse', a =>
    ({ account: a.name, asset, scale, budget: a.budget, reserved: a.reserved, spent: a.spent }))
  unary(s, all, 'AccountService/ListCharges', 'ListChargesRequest', 'ListChargesResponse', (a, r) => {
    const [page, next_page_token] = pages.newest([...all.of(a).values()], r)
    return { charges: page.map(i => ({ id: i.id, offer: i.listing.ref, amount: i.charged, at: i.endedAt })), next_page_token }
  })
}
function serveCatalog(s: GrpcServer, all: Consumers, pages: Pages) {
  const { catalog } = all.host
  unary(s, all, 'CatalogService/Search', 'SearchRequest', 'SearchResponse', (_, r) => {
    need([...r.text].length <= 256, 'INVALID_ARGUMENT', 'The text is too long.', { field: 'text' })
    const [offers, next_page_token] = pages.offers(() => catalog.finding.search(r), r)
    return { offers, next_page_token }
  })
  unary(s, all, 'CatalogService/Get', 'CatalogServiceGetRequest', 'CatalogServiceGetResponse',
    (_, r) => ({ offer: catalog.finding.get(r.ref) }))
  s.handle('CatalogService/Watch', async call => {
    all.account(call); message('WatchRequest', await call.request())
    new CatalogWatch(call, catalog).run()
  })
}
