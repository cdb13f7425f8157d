// Why something is refused: the gRPC code of each reason, the status that a call ends with, problems in messages (RFC 0012).
import { readFileSync } from 'node:fs'
import { byBytes, Refusal, type Metadata } from './core.ts'
import type * as Msg from './messages.ts'
import { encode } from './proto.ts'

export const CODES = ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS',
  'PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL',
  'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED']
const codes = new Map<string, number>()
export function loadErrors(file: string) {
  for (const m of readFileSync(file, 'utf8').matchAll(/^\[(\w+)\]\ngrpc_code = "(\w+)"/gm)) codes.set(m[1], CODES.indexOf(m[2]))
}
export const codeOf = (reason: string) => codes.get(reason) ?? 2

// What is no refusal is a fault of this node.
export function refusalOf(e: unknown): Refusal {
  if (e instanceof Refusal) return e
  console.error(e)
  return new Refusal('INTERNAL', 'The node broke one of its own rules.')
}
export const problemOf = (reason: string, message: string, metadata: Metadata = {}): Msg.Problem =>
  new Refusal(reason, message, metadata).problem
const cutText = (s: string, n: number) => [...s].slice(0, n).join('')
// A problem of another grid, no larger than one may be.
export function cutProblem(p: Msg.Problem | undefined): Msg.Problem {
  const kept = [...p?.metadata ?? []].sort(([a], [b]) => byBytes(a, b)).slice(0, 16)
  return { reason: cutText(p?.reason ?? '', 64), message: cutText(p?.message ?? '', 1024),
    metadata: new Map(kept.map(([k, v]) => [cutText(k, 64), cutText(v, 256)])) }
}

export function statusOf(e: unknown): { code: number; message: string; details: string } {
  const r = refusalOf(e), code = codeOf(r.reason)
  let message = r.message
  while (Buffer.byteLength(message) > 1024) message = [...message].slice(0, -1).join('')
  const info = encode('ErrorInfo', { reason: r.reason, domain: 'intertie', metadata: r.problem.metadata })
  const details = encode('Status', { code, message, details: [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }] })
  return { code, message, details: details.toString('base64') }
}
