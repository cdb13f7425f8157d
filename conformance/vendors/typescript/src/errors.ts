// The errors registry: which gRPC code a reason has, and the status that a refused call ends with (RFC 0012).
import { readFileSync } from 'node:fs'
import { Refusal } from './core.ts'
import { encode } from './proto.ts'

export const CODES = ['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS', 'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED']
const codes = new Map<string, number>()
export function loadErrors(file: string) {
  for (const m of readFileSync(file, 'utf8').matchAll(/^\[(\w+)\]\ngrpc_code = "(\w+)"/gm)) codes.set(m[1], CODES.indexOf(m[2]))
}
export const known = (reason: string) => codes.has(reason)
export const codeOf = (reason: string) => codes.get(reason) ?? 2

export function statusOf(e: any): { code: number; message: string; details: string } {
  const r = e instanceof Refusal ? e : new Refusal('INTERNAL', 'The node broke one of its own rules.')
  if (!(e instanceof Refusal)) console.error(e)
  const code = codeOf(r.reason)
  let message = r.message
  while (Buffer.byteLength(message) > 1024) message = [...message].slice(0, -1).join('')
  const info = encode('ErrorInfo', { reason: r.reason, domain: 'intertie', metadata: r.problem.metadata })
  const details = encode('Status', { code, message, details: [{ type_url: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }] })
  return { code, message, details: details.toString('base64') }
}
