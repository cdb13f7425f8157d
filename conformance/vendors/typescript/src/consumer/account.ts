// A consumer's account: who may use it, and what of its budget is reserved and spent (RFC 0009).
import { eq, refuse, sha256 } from '../core.ts'
import type { ServerCall } from '../grpc.ts'

export class Account {
  readonly token: Buffer
  reserved = 0n
  spent = 0n
  constructor(readonly name: string, token: string, readonly budget: bigint) { this.token = sha256(token) }
  get available() { return this.budget - this.reserved - this.spent }
}
export function accountOf(call: ServerCall, accounts: Account[]): Account {
  const m = /^Bearer (.+)$/.exec(String(call.headers.authorization ?? ''))
  const token = m && sha256(m[1])
  return accounts.find(a => token && eq(a.token, token)) ?? refuse('UNAUTHENTICATED', 'A valid token is needed.')
}
