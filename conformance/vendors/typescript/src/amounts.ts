// Exact arithmetic of value (RFC 0003 section 3.6, RFC 0011 section 3.4). A price is {num, den}, a line {unit, num, den}.
import { MAX64, need, refuse } from './core.ts'
import type { PriceLine } from './messages.ts'

const inRange = (n: bigint, low = 0n) => n >= low && n <= MAX64
function operand(ok: unknown): asserts ok { need(ok, 'AMOUNT_INVALID', 'An amount, quantity or price is out of range.') }
const fits = (n: bigint) => { need(n <= MAX64, 'AMOUNT_OVERFLOW', 'A computed amount does not fit 63 bits.'); return n }
export const ceilDiv = (a: bigint, b: bigint): bigint => -floorDiv(-a, b)
export const floorDiv = (a: bigint, b: bigint): bigint => { const q = a / b; return a % b !== 0n && a < 0n !== b < 0n ? q - 1n : q }
const gcd = (a: bigint, b: bigint): bigint => { while (b) [a, b] = [b, a % b]; return a }
export interface Price { num: bigint; den: bigint }
export function lowest(num: bigint, den: bigint): Price {
  if (num === 0n) return { num: 0n, den: 1n }
  const g = gcd(num, den)
  return { num: num / g, den: den / g }
}

// The sum without a bound on its width: what a charge entry is compared with.
export const sumOf = (prices: Price[], quantities: bigint[]): bigint =>
  prices.reduce((s: bigint, p, i) => s + ceilDiv(quantities[i] * p.num, p.den), 0n)
export function charge(prices: Price[], quantities: bigint[]): bigint {
  operand(prices.length === quantities.length)
  for (const p of prices) operand(inRange(p.num) && inRange(p.den, 1n))
  for (const q of quantities) operand(inRange(q))
  return fits(sumOf(prices, quantities))
}
export function scalePrice(p: Price, markup_num: bigint, markup_den: bigint): Price {
  operand(inRange(p.num) && inRange(p.den, 1n) && inRange(markup_num) && inRange(markup_den, 1n))
  const r = lowest(p.num * markup_num, p.den * markup_den)
  fits(r.num); fits(r.den)
  return r
}
export interface Tariff { markup_num: bigint; markup_den: bigint; fee: bigint }
export function applyTariff(lines: PriceLine[], t: Tariff): PriceLine[] {
  operand(inRange(t.fee))
  const out = lines.map(l => ({ unit: l.unit, ...scalePrice(l, t.markup_num, t.markup_den) }))
  if (t.fee !== 0n && !out.some(l => l.unit === 'order')) out.push({ unit: 'order', num: 0n, den: 1n })
  return out.map(l => {
    if (l.unit !== 'order') return l
    const r = lowest(l.num + t.fee * l.den, l.den)
    fits(r.num); fits(r.den)
    return { unit: l.unit, ...r }
  })
}
export const orderPrice = (lines: PriceLine[]) => { const l = lines.find(l => l.unit === 'order'); return l ? ceilDiv(l.num, l.den) : 0n }

export interface Rate { num: bigint; den: bigint; fee: bigint; lines: bigint }
// Ratio and own fee between an upstream and a downstream tariff.
export function rate(up: Tariff, down: Tariff): { num: bigint; den: bigint; fee: bigint } {
  let num: bigint, den: bigint
  if (down.markup_num > 0n) ({ num, den } = lowest(up.markup_num * down.markup_den, up.markup_den * down.markup_num))
  else ({ num, den } = up.markup_num > up.markup_den ? lowest(up.markup_num, up.markup_den) : { num: 1n, den: 1n })
  const rest = up.fee * den - num * down.fee                 // over den
  if (num < den || rest < 0n) refuse('PRICE_CHANGED', 'The upstream tariff does not cover the downstream one.')
  return { num, den, fee: ceilDiv(rest, den) }
}
const checkRate = (x: bigint, r: Rate) => operand(inRange(x) && inRange(r.fee) && inRange(r.lines) && r.num > 0n && r.den > 0n)
export function down(x: bigint, r: Rate): bigint {
  checkRate(x, r)
  const n = (x - r.fee - r.lines) * r.den
  return n < 0n ? 0n : fits(floorDiv(n, r.num))
}
export function up(y: bigint, r: Rate): bigint {
  checkRate(y, r)
  return ceilDiv(y * r.num, r.den) + r.fee + r.lines
}

export function totalBytes(n: bigint): Buffer {
  need(n >= -(1n << 127n) && n < 1n << 127n, 'AMOUNT_OVERFLOW', 'A total does not fit 128 bits.')
  return Buffer.from(BigInt.asUintN(128, n).toString(16).padStart(32, '0'), 'hex')
}
export function totalOf(b: Uint8Array): bigint {
  need(b.length === 16, 'AMOUNT_INVALID', 'A total does not have 16 bytes.')
  return BigInt.asIntN(128, BigInt('0x' + Buffer.from(b).toString('hex')))
}
export function parseAmount(text: string, scale: number): bigint {
  operand(scale >= 0 && scale <= 9)
  const m = /^(0|[1-9][0-9]{0,18})(?:\.([0-9]{1,9}))?$/.exec(text)
  operand(m && !text.includes('\n'))
  const [, whole, part = ''] = m
  operand(part.length <= scale)
  const v = BigInt(whole) * 10n ** BigInt(scale) + BigInt(part.padEnd(scale, '0') || '0')
  operand(v <= MAX64)
  return v
}
