// gRPC over HTTP/2, servers and clients of raw messages: node:http2 and nothing else.
import http2 from 'node:http2'
import net from 'node:net'
import tls from 'node:tls'
import { Refusal, refuse } from './core.ts'
import { statusOf } from './errors.ts'
import type { Messages } from './messages.ts'
import { decodeOr, encode, type Draft } from './proto.ts'

// Cuts a stream of bytes into gRPC messages.
class Cutter {
  private parts: Buffer[] = []
  private size = 0
  constructor(readonly limit: number) {}
  feed(b: Buffer): Buffer[] {
    this.parts.push(b); this.size += b.length
    const out: Buffer[] = []
    for (;;) {
      if (this.size < 5) break
      if (this.parts.length > 1 && this.parts[0].length < 5) this.parts = [Buffer.concat(this.parts)]
      const n = this.parts[0].readUInt32BE(1)
      if (this.parts[0][0] !== 0) refuse('INVALID_ARGUMENT', 'Compressed messages are not taken.')
      if (n > this.limit) refuse('FRAME_TOO_LARGE', 'A message is larger than is taken.', { size: n, limit: this.limit })
      if (this.size < 5 + n) break
      const all = this.parts.length > 1 ? Buffer.concat(this.parts) : this.parts[0]
      out.push(all.subarray(5, 5 + n))
      const rest = all.subarray(5 + n)
      this.parts = rest.length ? [rest] : []; this.size = rest.length
    }
    return out
  }
}
const framed = (m: Uint8Array) => { const h = Buffer.alloc(5); h.writeUInt32BE(m.length, 1); return Buffer.concat([h, m]) }

const certificates = new WeakMap<object, Buffer | undefined>()   // the client's certificate of each connection

export class ServerCall {
  private cutter = new Cutter(4 << 20)
  private answered = false
  private draining?: Promise<void>
  private finished = false
  private messages: Buffer[] = []
  private ended = false
  private wake?: () => void
  onMessage?: (m: Buffer) => void
  onEnd?: () => void
  onGone?: () => void
  gone = false
  constructor(readonly stream: http2.ServerHttp2Stream, readonly headers: http2.IncomingHttpHeaders) {
    stream.on('data', (b: Buffer) => {
      if (this.finished) return
      try { for (const m of this.cutter.feed(b)) this.arrived(m) } catch (e) { this.fail(e) }
    })
    stream.on('end', () => { this.ended = true; this.wake?.(); this.onEnd?.() })
    stream.on('error', () => {})
    stream.on('close', () => { this.gone = true; this.wake?.(); this.onGone?.() })
  }
  private arrived(m: Buffer) {
    if (this.onMessage) this.onMessage(m)
    else { this.messages.push(m); this.wake?.() }
  }
  get peerCertificate(): Buffer | undefined {
    const session = this.stream.session
    if (!session) return undefined
    if (!certificates.has(session)) {
      try { certificates.set(session, (session.socket as tls.TLSSocket).getPeerX509Certificate()?.raw) } catch { return undefined }
    }
    return certificates.get(session)
  }
  async request(): Promise<Buffer> {
    while (!this.messages.length && !this.ended && !this.gone) await new Promise<void>(r => { this.wake = r })
    return this.messages.shift() ?? refuse('INVALID_ARGUMENT', 'The call has no request.')
  }
  takeQueued(): Buffer[] { return this.messages.splice(0) }
  get isEnded() { return this.ended }
  private head() {
    if (this.answered || this.stream.destroyed) return
    this.answered = true
    this.stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto' }, { waitForTrailers: true })
  }
  write(m: Uint8Array): boolean {
    if (this.finished || this.stream.destroyed) return true
    this.head()
    return this.stream.write(framed(m))
  }
  drained(): Promise<void> {
    if (this.gone || !this.stream.writableNeedDrain) return Promise.resolve()
    return this.draining ??= new Promise<void>(r => {
      const done = () => { this.draining = undefined; this.stream.off('drain', done).off('close', done); r() }
      this.stream.on('drain', done).on('close', done)
    })
  }
  get buffered() { return this.stream.writableLength }
  end() { this.finish({ 'grpc-status': '0' }) }
  fail(e: unknown) {
    const s = statusOf(e), message = encodeURIComponent(s.message).replace(/%20/g, ' ')
    this.finish({ 'grpc-status': String(s.code), 'grpc-message': message, 'grpc-status-details-bin': s.details })
  }
  private finish(trailers: http2.OutgoingHttpHeaders) {
    if (this.finished || this.stream.destroyed) return
    this.finished = true
    if (!this.answered) {
      this.answered = true
      this.stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', ...trailers }, { endStream: true })
    } else {
      this.stream.once('wantTrailers', () => { try { this.stream.sendTrailers(trailers) } catch { /* gone */ } })
      this.stream.end()
    }
    if (!this.ended) this.stream.resume()
  }
  cut() { this.stream.destroy() }
}

export type Handler = (call: ServerCall) => unknown
type Type = keyof Messages
type Method<Q extends Type, A extends Type> = (r: Messages[Q], call: ServerCall) => Draft<Messages[A]> | Promise<Draft<Messages[A]>>
export class GrpcServer {
  private handlers = new Map<string, Handler>()
  private server: http2.Http2Server | http2.Http2SecureServer
  constructor(secure?: { cert: string; key: string; mutual: boolean }) {
    const settings = { maxSessionMemory: 512, settings: { initialWindowSize: 1 << 20, maxConcurrentStreams: 4096 } }
    this.server = secure
      ? http2.createSecureServer({ ...settings, cert: secure.cert, key: secure.key, requestCert: secure.mutual, rejectUnauthorized: false,
        minVersion: 'TLSv1.2' })
      : http2.createServer(settings)
    this.server.on('session', s => { s.on('error', () => {}) })
    this.server.on('sessionError', () => {})
    this.server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => this.called(stream, headers))
  }
  private called(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) {
    if (!String(headers['content-type']).startsWith('application/grpc') || headers[':method'] !== 'POST') {
      stream.respond({ ':status': 415 }, { endStream: true })
      return
    }
    const call = new ServerCall(stream, headers), handler = this.handlers.get(headers[':path'] ?? '')
    if (!handler) { call.fail(new Refusal('UNSUPPORTED_FEATURE', 'No such method is served here.')); return }
    Promise.resolve().then(() => handler(call)).catch(e => call.fail(e))
  }
  handle(path: string, handler: Handler) { this.handlers.set('/intertie.v1.' + path, handler) }
  unary<Q extends Type, A extends Type>(path: string, request: Q, response: A, fn: Method<Q, A>) {
    this.handle(path, async call => {
      const answer = await fn(message(request, await call.request()), call)
      call.write(encode(response, answer)); call.end()
    })
  }
  listen(host: string, port: number): Promise<number> {
    return new Promise((done, failed) => {
      this.server.once('error', failed)
      this.server.listen(port, host, () => done((this.server.address() as net.AddressInfo).port))
    })
  }
}
export const message = <Q extends Type>(type: Q, b: Buffer): Messages[Q] =>
  decodeOr(type, b, () => refuse('INVALID_ARGUMENT', 'The request does not decode.', { field: type }))

const PATIENCE_MS = 5000
// Done with one event, or failed by an error or the time.
function within(socket: net.Socket, event: string): Promise<void> {
  return new Promise((done, failed) => {
    const timer = setTimeout(() => failed(new Error('timeout')), PATIENCE_MS)
    socket.once(event, () => { clearTimeout(timer); done() })
    socket.once('error', e => { clearTimeout(timer); failed(e) })
  })
}
const anonymous = tls.createSecureContext({ minVersion: 'TLSv1.2' })
export interface Connecting { context?: tls.SecureContext; admit: (der: Buffer) => boolean; grid?: string }
// A connection to another grid's port, its certificate compared byte by byte before anything is said.
export async function connect(address: string, o: Connecting): Promise<http2.ClientHttp2Session> {
  const m = /^\[?([^\]]+)\]?:(\d+)$/.exec(address)
  if (!m) throw new Error('no address')
  const [, host, port] = m, plain = net.connect({ host, port: Number(port) })
  await within(plain, 'connect')
  const socket = tls.connect({ socket: plain, secureContext: o.context ?? anonymous, rejectUnauthorized: false, ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.2', servername: o.grid ?? (net.isIP(host) ? undefined : host) })
  await within(socket, 'secureConnect')
  const der = socket.getPeerCertificate(false)?.raw
  if (!der || !o.admit(der)) { socket.destroy(); refuse('CERTIFICATE_MISMATCH', 'The server presents another certificate.', {}) }
  const settings = { initialWindowSize: 1 << 20 }
  const session = http2.connect('https://' + address, { createConnection: () => socket, maxSessionMemory: 512, settings })
  session.on('error', () => {})
  return session
}
export class ClientCall {
  private cutter = new Cutter(4 << 20)
  onMessage?: (m: Buffer) => void
  onEnd?: (code: number) => void
  private code = 14
  readonly stream: http2.ClientHttp2Stream
  constructor(session: http2.ClientHttp2Session, path: string, headers: Record<string, string> = {}) {
    this.stream = session.request({ ':method': 'POST', ':path': '/intertie.v1.' + path, 'content-type': 'application/grpc+proto',
      te: 'trailers', ...headers })
    const status = (h: http2.IncomingHttpHeaders) => { if (h['grpc-status'] !== undefined) this.code = Number(h['grpc-status']) }
    this.stream.on('response', status).on('trailers', status).on('error', () => {})
    this.stream.on('data', b => { try { for (const x of this.cutter.feed(b)) this.onMessage?.(x) } catch { this.stream.destroy() } })
    this.stream.on('close', () => this.onEnd?.(this.code))
  }
  write(m: Uint8Array) { if (!this.stream.destroyed && !this.stream.writableEnded) this.stream.write(framed(m)) }
  get buffered() { return this.stream.writableLength }
  end() { if (!this.stream.destroyed) this.stream.end() }
  cut() { this.stream.destroy() }
}
// A call of one request: all messages of its answer.
export function callUnary(session: http2.ClientHttp2Session, path: string, request: Buffer): Promise<Buffer[]> {
  return new Promise((done, failed) => {
    const call = new ClientCall(session, path), out: Buffer[] = []
    const timer = setTimeout(() => call.cut(), 20000)
    let size = 0
    call.onMessage = m => { out.push(m); if ((size += m.length) > 67108864 + 1e6 || out.length > 4097) call.cut() }
    call.onEnd = code => { clearTimeout(timer); code === 0 ? done(out) : failed(new Error('status ' + code)) }
    call.write(request); call.end()
  })
}
