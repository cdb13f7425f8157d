// Runs every test vector of the standard: `npm run vectors -- DIR` with DIR = protocol/.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { admit } from '../src/admit.ts'
import * as A from '../src/amounts.ts'
import * as C from '../src/core.ts'
import * as I from '../src/identity.ts'
import * as K from '../src/keys.ts'
import * as L from '../src/log.ts'
import { checkOpen, plan } from '../src/opening.ts'
import { decode, encode, loadProtos } from '../src/proto.ts'
import * as R from '../src/records.ts'
import { sameInvocation, eventSize } from '../src/semantics.ts'

const dir = process.argv[2] ?? '../../../protocol'
loadProtos(join(dir, 'proto/intertie/v1'))
const H = (s: string) => Buffer.from(s, 'hex'), B = BigInt, X = C.hex
const prices = (l: any[]) => l.map(p => ({ unit: p.unit, num: B(p.num), den: B(p.den) }))
const texts = (o: any): any => typeof o === 'bigint' ? String(o) : Buffer.isBuffer(o) ? X(o) : Array.isArray(o) ? o.map(texts) : o && typeof o === 'object' ? Object.fromEntries(Object.entries(o).map(([k, v]) => [k, texts(v)])) : o
const tariff = (t: any) => ({ markup_num: B(t.markup_num), markup_den: B(t.markup_den), fee: B(t.fee) })
const chainOf = (l: string[]) => I.verifyChain(l.map(H))
const headSig = (i: any) => ({ genesis: H(i.genesis), s: { seq: B(i.seq), head: H(i.head), acked: B(i.acked), acked_head: H(i.acked_head), agreed_total: total16(B(i.agreed_total)), session: H(i.session) } as any })
const total16 = (n: bigint) => { try { return A.totalBytes(n) } catch { return C.refuse('INVALID_ARGUMENT') } }
const rateOf = (i: any) => ({ num: B(i.ratio_num), den: B(i.ratio_den), fee: B(i.fee_own), lines: B(i.lines) })
const side = (s: string): L.Side => s === 'a' ? 0 : 1

const ops: Record<string, (i: any) => any> = {
  verify: i => { const a = I.verifyAgreement(H(i.agreement), chainOf(i.proposer), i.acceptor && chainOf(i.acceptor)); return { genesis: a.genesis, digest: a.digest } },
  charge: i => ({ amount: A.charge(prices(i.prices), i.quantities.map(B)) }),
  scale_price: i => A.scalePrice({ num: B(i.num), den: B(i.den) }, B(i.markup_num), B(i.markup_den)),
  apply_tariff: i => ({ lines: A.applyTariff(prices(i.lines), tariff(i)) }),
  convert_limit: i => ({ amount: A.down(B(i.amount), rateOf(i)) }),
  down: i => ({ amount: A.down(B(i.amount), rateOf(i)) }),
  up: i => ({ amount: A.up(B(i.amount), rateOf(i)) }),
  rate: i => { const r = A.rate(tariff(i.upstream), tariff(i.downstream)); return { ratio_num: r.num, ratio_den: r.den, fee_own: r.fee } },
  total: i => ({ bytes: A.totalBytes(B(i.total)) }),
  total_decode: i => ({ total: A.totalOf(H(i.bytes)) }),
  parse_amount: i => ({ amount: A.parseAmount(i.text, i.scale) }),
  offer: i => { const o = I.verifyOffer(H(i.offer), H(i.origin)); return { digest: C.multihash(H(i.offer)), name: o.name, prices: o.prices } },
  root: i => { const r = I.verifyRoot(H(i.root), chainOf(i.descriptors), B(i.now)); return { digest: r.digest, offers: r.root.offers } },
  genesis: i => ({ genesis: C.genesisOf(H(i.payload)) }),
  heads: i => { let h: Buffer = H(i.genesis); return { heads: i.entries.map((e: string) => h = C.nextHead(h, H(e))) } },
  session: i => ({ session: C.sessionOf(H(i.dialler), H(i.acceptor)) }),
  check_head: i => { let h: Buffer = H(i.genesis); for (const e of i.entries) h = C.nextHead(h, H(e)); C.need(C.eq(h, H(i.head)), 'LOG_FORK'); return {} },
  parse_head: i => { C.need(H(i.head).length === 32, 'INVALID_ARGUMENT'); return {} },
  final_charge: i => {
    const order = decode('Entry', H(i.order)).order, c = decode('Entry', H(i.charge)).charge
    const chain = i.executor.length ? chainOf(i.executor) : undefined
    return { record: R.checkFinalCharge(order, c, c.proof?.$raw, B(i.before), () => chain)?.bytes ?? '' }
  },
  verify_chain: i => { const c = chainOf(i.envelopes); return { fingerprint: c.fingerprint, grid: c.grid, version: String(c.length), digest: c.last.digest, root_key: c.last.descriptor.root_key, signing_keys: c.keys } },
  check_update: i => { I.checkUpdate(chainOf(i.old.envelopes), chainOf(i.new.envelopes)); return {} },
  multihash: i => ({ digest: C.multihash(H(i.data)), text: 'sha256:' + X(C.sha256(H(i.data))) }),
  salted: i => ({ digest: C.multihash(H(i.nonce), H(i.data)) }),
  check_salted: i => { C.need(C.eq(C.multihash(H(i.nonce), H(i.data)), H(i.digest)), 'INPUT_INVALID'); return {} },
  parse: i => i.digest !== undefined ? (C.need(C.isDigest(H(i.digest)), 'INVALID_ARGUMENT'), {}) : { time_ms: C.idTime(i.id) },
  from_text: i => { C.need(/^sha256:[0-9a-f]{64}$/.test(i.text) && !i.text.includes('\n'), 'INVALID_ARGUMENT'); return {} },
  pae: i => ({ bytes: K.pae(i.payload_type, H(i.payload)) }),
  sign: i => { const k = K.SigningKey.fromSeed(H(i.seed)); return { public_key: k.spki, key_id: k.id, signature: k.sign(K.pae(i.payload_type, H(i.payload))) } },
  public_key: i => { K.checkKey(H(i.public_key)); return { key_id: K.keyId(H(i.public_key)) } },
  unseal: i => { const u = K.unseal(H(i.envelope), i.payload_type, i.public_keys.map(H)); return { payload: u.payload, key_ids: u.keys.map(K.keyId) } },
  take: i => {
    const t = i.terms, l = new L.Ledger(H(i.genesis), { claim_window_ms: B(t.claim_window_ms), max_hold_ms: B(t.max_hold_ms), max_skew_ms: B(t.max_skew_ms) })
    for (const g of i.groups) l.atomic(() => l.take(side(g.log), Number(g.first_seq), g.entries.map(H), decode('HeadSignature', H(g.signature)), H(g.signature), [H(i.keys[g.log])],
      g.log === 'b' ? B(i.now) + B(t.max_skew_ms) : undefined))
    const show = (s: L.Side) => ({ seq: String(l.seq(s)), head: l.head(s), agreed_total: l.logs[s].total })
    return { a: show(0), b: show(1) }
  },
  make: i => ({ id: C.makeId(B(i.time_ms), H(i.random)) }),
  hop: i => ({ id: C.hopId(B(i.time_ms), H(i.secret), H(i.digest), i.attempt) }),
  repeat: i => { sameInvocation(decode('Invocation', H(i.first)), decode('Invocation', H(i.again))); return {} },
  place: i => { C.need(C.placeAllowed(i.places, i.place), 'POLICY_VIOLATION'); return {} },
  event_size: i => ({ size: String(eventSize(decode('Event', H(i.event)))) }),
  link_signature: i => { const { genesis, s } = headSig(i), bytes = L.signedBytes(genesis, s); return { bytes, signature: K.SigningKey.fromSeed(H(i.seed)).sign(bytes) } },
  link_verify: i => { const { genesis, s } = headSig(i); s.signatures = [{ key_id: K.keyId(H(i.public_key)), value: H(i.signature) }]; C.need(L.rightSignature(genesis, s, [H(i.public_key)]), 'SIGNATURE_INVALID'); return {} },
  judge: i => {
    const l = new L.Ledger(Buffer.alloc(32), { claim_window_ms: B(i.terms.claim_window_ms), max_hold_ms: B(i.terms.max_hold_ms), max_skew_ms: 0n }), out: string[] = []
    for (const s of i.steps) {
      if (s.signer) { l.logs[side(s.signer)].acked = Number(s.acked); continue }
      out.push(l.apply(side(s.log), H(s.entry), decode('Entry', H(s.entry))).void)
    }
    if (out.at(-1) && out.slice(0, -1).every(v => !v) && i.hostile) C.refuse(out.at(-1)!)
    const lane = (s: L.Side) => { const x = l.lanes[s]; return { posted: x.posted, pending: x.pending, granted: x.granted, earned: x.earned, agreed: l.total(s) } }
    return { void: out, a: lane(0), b: lane(1) }
  },
  tree: i => R.tree(i.leaves.map(H)),
  proof: i => { C.need(R.checkPath(H(i.leaf), B(i.index), B(i.size), i.path.map(H), H(i.root)), 'CHARGE_UNPROVEN'); return {} },
  check_open: i => ({ payload: checkOpen(H(i.envelope), { genesis: H(i.genesis), now: B(i.now), max_skew_ms: B(i.max_skew_ms), features: i.features, keys: i.public_keys.map(H) }).payload }),
  plan: i => { const p = plan(+i.own, +i.other, +i.theirs_own, +i.theirs_other); return { resend_after: String(p.resendAfter), return_after: String(p.returnAfter), own_whole_at: String(p.ownWholeAt), other_whole_at: String(p.otherWholeAt) } },
  admit: i => {
    const order = decode('Entry', H(i.order)).order, offer = H(i.offer)
    const t = { ...tariff(i.tariff), origin: H(i.tariff.origin), expires_at: B(i.tariff.expires_at) }
    return { result: admit({ order, input: H(i.input), now: B(i.now), draining: !!i.state.draining, suspended: !!i.state.suspended, own: { input_bytes: 1048576, ...i.own },
      terms: { credit_limit: B(i.terms.credit_limit), max_unagreed: B(i.terms.max_unagreed), max_open_holds: Number(i.terms.max_open_holds), max_skew_ms: B(i.terms.max_skew_ms) },
      lane: { gross: B(i.lane.gross), unagreed: B(i.lane.unagreed), open: Number(i.lane.open) },
      offer: C.eq(C.multihash(offer), order.offer_digest) ? decode('Offer', offer) : undefined, tariff: order.tariff_seq === B(i.tariff.seq) ? t : undefined, newestTariff: Number(i.tariff.seq) }) }
  },
  verify_proof: i => ({ record: R.verifyProof(H(i.proof), chainOf(i.executor)).bytes }),
  energy: i => ({ energy: encode('Energy', R.energyOf(i.intensities.map((e: string) => decode('EnergyIntensity', H(e))), new Map(Object.entries(i.usage).map(([u, q]) => [u, B(q as string)])))) }),
}

let pass = 0, fail = 0
for (const area of readdirSync(join(dir, 'vectors'), { withFileTypes: true }).filter(d => d.isDirectory()).map(d => d.name)) {
  for (const v of JSON.parse(readFileSync(join(dir, 'vectors', area, area + '.json'), 'utf8')).vectors) {
    let got: any
    try { got = { output: texts(ops[v.operation]({ ...v.input, hostile: v.validity === 'hostile' })) } } catch (e: any) { got = e.reason ? { error: e.reason } : { crash: e.stack } }
    const want = v.error ? { error: v.error } : { output: v.output }
    const sorted = (o: any): string => JSON.stringify(o, (_, x) => x && typeof x === 'object' && !Array.isArray(x) ? Object.fromEntries(Object.entries(x).sort()) : x)
    if (sorted(got) === sorted(want)) pass++
    else { fail++; console.log(`FAIL ${v.id}: ${v.description}\n  want ${sorted(want).slice(0, 300)}\n  got  ${got.crash ?? sorted(got).slice(0, 300)}`) }
  }
}
console.log(`${pass} vectors pass, ${fail} fail`)
process.exit(fail ? 1 : 0)
