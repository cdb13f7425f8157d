// Runs every test vector of the standard: `npm run vectors -- DIR` with DIR = protocol/.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { admit } from '../src/admit.ts'
import * as A from '../src/amounts.ts'
import * as C from '../src/core.ts'
import type { Side } from '../src/holds.ts'
import * as I from '../src/identity.ts'
import * as K from '../src/keys.ts'
import { Ledger } from '../src/log.ts'
import { checkOpen, plan, readOpen } from '../src/opening.ts'
import { decode, encode, loadProtos } from '../src/proto.ts'
import * as R from '../src/records.ts'
import { eventSize, sameInvocation } from '../src/semantics.ts'
import { rightSignature, signedBytes } from '../src/signature.ts'

// The input of a vector, as its file has it: every operation has another shape.
type Input = Record<string, any>
type Operation = (i: Input) => unknown

const dir = process.argv[2] ?? '../../../protocol'
loadProtos(join(dir, 'proto/intertie/v1'))

const H = (s: string) => Buffer.from(s, 'hex'), B = BigInt, X = C.hex
const prices = (l: Input[]) => l.map(p => ({ unit: String(p.unit), num: B(p.num), den: B(p.den) }))
const tariff = (t: Input) => ({ markup_num: B(t.markup_num), markup_den: B(t.markup_den), fee: B(t.fee) })
const rateOf = (i: Input) => ({ num: B(i.ratio_num), den: B(i.ratio_den), fee: B(i.fee_own), lines: B(i.lines) })
const chainOf = (l: string[]) => I.verifyChain(l.map(H))
const side = (s: string): Side => s === 'a' ? 0 : 1
const total16 = (n: bigint) => { try { return A.totalBytes(n) } catch { return C.refuse('INVALID_ARGUMENT') } }
const unsigned = (i: Input) => ({ seq: B(i.seq), head: H(i.head), acked: B(i.acked), acked_head: H(i.acked_head),
  agreed_total: total16(B(i.agreed_total)), session: H(i.session) })
const headOf = (i: Input) => i.entries.reduce((h: Buffer, e: string) => C.nextHead(h, H(e)), H(i.genesis))
// What is checked by throwing gives nothing.
const checks = (fn: (i: Input) => void): Operation => i => { fn(i); return {} }
function orderIn(entry: string) { return decode('Entry', H(entry)).order ?? C.refuse('ENTRY_MALFORMED') }
function chargeIn(entry: string) { return decode('Entry', H(entry)).charge ?? C.refuse('ENTRY_MALFORMED') }

const amounts: Record<string, Operation> = {
  charge: i => ({ amount: A.charge(prices(i.prices), i.quantities.map(B)) }),
  scale_price: i => A.scalePrice({ num: B(i.num), den: B(i.den) }, B(i.markup_num), B(i.markup_den)),
  apply_tariff: i => ({ lines: A.applyTariff(prices(i.lines), tariff(i)) }),
  convert_limit: i => ({ amount: A.down(B(i.amount), rateOf(i)) }),
  down: i => ({ amount: A.down(B(i.amount), rateOf(i)) }),
  up: i => ({ amount: A.up(B(i.amount), rateOf(i)) }),
  rate: i => {
    const r = A.rate(tariff(i.upstream), tariff(i.downstream))
    return { ratio_num: r.num, ratio_den: r.den, fee_own: r.fee }
  },
  total: i => ({ bytes: A.totalBytes(B(i.total)) }),
  total_decode: i => ({ total: A.totalOf(H(i.bytes)) }),
  parse_amount: i => ({ amount: A.parseAmount(i.text, i.scale) }),
}

const identity: Record<string, Operation> = {
  verify: i => {
    const a = I.verifyAgreement(H(i.agreement), chainOf(i.proposer), i.acceptor && chainOf(i.acceptor))
    return { genesis: a.genesis, digest: a.digest }
  },
  verify_chain: i => {
    const c = chainOf(i.envelopes), { digest, descriptor: { root_key } } = c.last
    return { fingerprint: c.fingerprint, grid: c.grid, version: String(c.length), digest, root_key, signing_keys: c.keys }
  },
  check_update: checks(i => I.checkUpdate(chainOf(i.old.envelopes), chainOf(i.new.envelopes))),
  offer: i => {
    const o = I.verifyOffer(H(i.offer), H(i.origin))
    return { digest: C.multihash(H(i.offer)), name: o.name, prices: o.prices }
  },
  root: i => {
    const r = I.verifyRoot(H(i.root), chainOf(i.descriptors), B(i.now))
    return { digest: r.digest, offers: r.root.offers }
  },
  pae: i => ({ bytes: K.pae(i.payload_type, H(i.payload)) }),
  sign: i => {
    const k = K.SigningKey.fromSeed(H(i.seed))
    return { public_key: k.spki, key_id: k.id, signature: k.sign(K.pae(i.payload_type, H(i.payload))) }
  },
  public_key: i => { K.checkKey(H(i.public_key)); return { key_id: K.keyId(H(i.public_key)) } },
  unseal: i => {
    const u = K.unseal(H(i.envelope), i.payload_type, i.public_keys.map(H))
    return { payload: u.payload, key_ids: u.keys.map(K.keyId) }
  },
}

const digests: Record<string, Operation> = {
  genesis: i => ({ genesis: C.genesisOf(H(i.payload)) }),
  heads: i => {
    let h: Buffer = H(i.genesis)
    return { heads: i.entries.map((e: string) => h = C.nextHead(h, H(e))) }
  },
  session: i => ({ session: C.sessionOf(H(i.dialler), H(i.acceptor)) }),
  check_head: checks(i => C.need(C.eq(headOf(i), H(i.head)), 'LOG_FORK')),
  parse_head: checks(i => C.need(H(i.head).length === 32, 'INVALID_ARGUMENT')),
  multihash: i => ({ digest: C.multihash(H(i.data)), text: 'sha256:' + X(C.sha256(H(i.data))) }),
  salted: i => ({ digest: C.multihash(H(i.nonce), H(i.data)) }),
  check_salted: checks(i => C.need(C.eq(C.multihash(H(i.nonce), H(i.data)), H(i.digest)), 'INPUT_INVALID')),
  parse: i => {
    if (i.digest === undefined) return { time_ms: C.idTime(i.id) }
    C.need(C.isDigest(H(i.digest)), 'INVALID_ARGUMENT')
    return {}
  },
  from_text: checks(i => C.need(/^sha256:[0-9a-f]{64}$/.test(i.text) && !i.text.includes('\n'), 'INVALID_ARGUMENT')),
  make: i => ({ id: C.makeId(B(i.time_ms), H(i.random)) }),
  hop: i => ({ id: C.hopId(B(i.time_ms), H(i.secret), H(i.digest), i.attempt) }),
  place: checks(i => C.need(C.placeAllowed(i.places, i.place), 'POLICY_VIOLATION')),
}

const records: Record<string, Operation> = {
  tree: i => R.tree(i.leaves.map(H)),
  proof: checks(i => C.need(R.checkPath(H(i.leaf), B(i.index), B(i.size), i.path.map(H), H(i.root)), 'CHARGE_UNPROVEN')),
  verify_proof: i => ({ record: R.verifyProof(H(i.proof), chainOf(i.executor)).bytes }),
  final_charge: i => {
    const chain = i.executor.length ? chainOf(i.executor) : undefined
    return { record: R.checkFinalCharge(orderIn(i.order), chargeIn(i.charge), B(i.before), () => chain)?.bytes ?? '' }
  },
  energy: i => {
    const usage = new Map(Object.entries<string>(i.usage).map(([u, q]) => [u, B(q)]))
    return { energy: encode('Energy', R.energyOf(i.intensities.map((e: string) => decode('EnergyIntensity', H(e))), usage)) }
  },
}

const links: Record<string, Operation> = {
  take: i => {
    const t = i.terms, max_skew_ms = B(t.max_skew_ms), now = B(i.now) + max_skew_ms
    const l = new Ledger(H(i.genesis), { claim_window_ms: B(t.claim_window_ms), max_hold_ms: B(t.max_hold_ms), max_skew_ms })
    for (const g of i.groups) {
      const bytes = H(g.signature), sig = decode('HeadSignature', bytes)
      const given = { first: Number(g.first_seq), entries: g.entries.map(H), sig, bytes }
      l.atomic(() => l.take(side(g.log), given, [H(i.keys[g.log])], g.log === 'b' ? now : undefined))
    }
    const show = (s: Side) => ({ seq: String(l.seq(s)), head: l.head(s), agreed_total: l.logs[s].total })
    return { a: show(0), b: show(1) }
  },
  judge: i => {
    const { claim_window_ms, max_hold_ms } = i.terms, out: string[] = []
    const l = new Ledger(Buffer.alloc(32), { claim_window_ms: B(claim_window_ms), max_hold_ms: B(max_hold_ms), max_skew_ms: 0n })
    for (const s of i.steps)
      if (s.signer) l.logs[side(s.signer)].acked = Number(s.acked)
      else out.push(l.apply(side(s.log), H(s.entry), decode('Entry', H(s.entry))).void)
    const last = out.at(-1)
    if (last && out.slice(0, -1).every(v => !v) && i.hostile) C.refuse(last)
    const lane = (s: Side) => {
      const { posted, pending, granted, earned } = l.lanes[s]
      return { posted, pending, granted, earned, agreed: l.total(s) }
    }
    return { void: out, a: lane(0), b: lane(1) }
  },
  link_signature: i => {
    const bytes = signedBytes(H(i.genesis), unsigned(i))
    return { bytes, signature: K.SigningKey.fromSeed(H(i.seed)).sign(bytes) }
  },
  link_verify: checks(i => {
    const key = H(i.public_key), s = { ...unsigned(i), signatures: [{ key_id: K.keyId(key), value: H(i.signature) }] }
    C.need(rightSignature(H(i.genesis), s, [key]), 'SIGNATURE_INVALID')
  }),
  check_open: i => {
    const { envelope, open } = readOpen(H(i.envelope))
    const context = { genesis: H(i.genesis), now: B(i.now), max_skew_ms: B(i.max_skew_ms), features: i.features }
    return { payload: checkOpen(envelope, open, context, i.public_keys.map(H)).payload }
  },
  plan: i => {
    const p = plan(+i.own, +i.other, +i.theirs_own, +i.theirs_other)
    return { resend_after: String(p.resendAfter), return_after: String(p.returnAfter), own_whole_at: String(p.ownWholeAt),
      other_whole_at: String(p.otherWholeAt) }
  },
}

const orders: Record<string, Operation> = {
  repeat: checks(i => sameInvocation(decode('Invocation', H(i.first)), decode('Invocation', H(i.again)))),
  event_size: i => ({ size: String(eventSize(decode('Event', H(i.event)))) }),
  admit: i => {
    const order = orderIn(i.order), offer = H(i.offer), { terms, lane, state } = i
    const t = { ...tariff(i.tariff), origin: H(i.tariff.origin), expires_at: B(i.tariff.expires_at) }
    const result = admit({
      order, input: H(i.input), now: B(i.now), draining: !!state.draining, suspended: !!state.suspended,
      own: { grid: '', inline_bytes: 0, orders: 0, input_bytes: 1048576, ...i.own },
      terms: { credit_limit: B(terms.credit_limit), max_unagreed: B(terms.max_unagreed), max_open_holds: Number(terms.max_open_holds),
        max_skew_ms: B(terms.max_skew_ms) },
      lane: { gross: B(lane.gross), unagreed: B(lane.unagreed), open: Number(lane.open) },
      offer: C.eq(C.multihash(offer), order.offer_digest) ? decode('Offer', offer) : undefined,
      tariff: order.tariff_seq === B(i.tariff.seq) ? t : undefined, newestTariff: Number(i.tariff.seq),
    })
    return { result }
  },
}
const operations = { ...amounts, ...identity, ...digests, ...records, ...links, ...orders }

// As the vectors have them: numbers in decimal, bytes in hexadecimal, the members of objects in order.
function texts(o: unknown): unknown {
  if (typeof o === 'bigint') return String(o)
  if (Buffer.isBuffer(o)) return X(o)
  if (Array.isArray(o)) return o.map(texts)
  return o && typeof o === 'object' ? Object.fromEntries(Object.entries(o).map(([k, v]) => [k, texts(v)])) : o
}
const inOrder = (x: unknown) => x && typeof x === 'object' && !Array.isArray(x) ? Object.fromEntries(Object.entries(x).sort()) : x
const sorted = (o: unknown): string => JSON.stringify(o, (_, x) => inOrder(x))
function outcome(v: Input): unknown {
  try { return { output: texts(operations[v.operation]({ ...v.input, hostile: v.validity === 'hostile' })) } } catch (e) {
    return e instanceof C.Refusal ? { error: e.reason } : { crash: e instanceof Error ? e.stack : String(e) }
  }
}
function vectorsOf(area: string): Input[] { return JSON.parse(readFileSync(join(dir, 'vectors', area, area + '.json'), 'utf8')).vectors }

const areas = readdirSync(join(dir, 'vectors'), { withFileTypes: true }).filter(d => d.isDirectory()).map(d => d.name)
let pass = 0, fail = 0
for (const v of areas.flatMap(vectorsOf)) {
  const got = sorted(outcome(v)), want = sorted(v.error ? { error: v.error } : { output: v.output })
  if (got === want) { pass++; continue }
  fail++
  console.log(`FAIL ${v.id}: ${v.description}\n  want ${want.slice(0, 300)}\n  got  ${got.slice(0, 300)}`)
}
console.log(`${pass} vectors pass, ${fail} fail`)
process.exit(fail ? 1 : 0)
