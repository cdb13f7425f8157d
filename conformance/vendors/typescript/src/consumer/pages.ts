// Pages of lists, and the tokens that lead from one to the next (RFC 0009 section 3.14).
import { createHmac } from 'node:crypto'
import { need } from '../core.ts'
import type * as Msg from '../messages.ts'
import { encode } from '../proto.ts'

const MOST = 100, USUAL = 20, OFFER_BYTES = 1048576

interface Asked { page_size: number; page_token: string }

export class Pages {
  constructor(private readonly secret: Buffer) {}
  private size(asked: number): number {
    need(asked <= MOST, 'INVALID_ARGUMENT', 'A page holds at most 100 items.', { field: 'page_size' })
    return asked || USUAL
  }
  private token(text: string): string {
    return text + '.' + createHmac('sha256', this.secret).update('page\0' + text).digest('base64url').slice(0, 16)
  }
  private read(token: string): string {
    const text = token.slice(0, token.lastIndexOf('.'))
    need(token === '' || this.token(text) === token, 'INVALID_ARGUMENT', 'The page token is not one of this node.', { field: 'page_token' })
    return text
  }
  // The newest first; ids are in the order of time.
  newest<T extends { id: string }>(all: T[], r: Asked): [T[], string] {
    const size = this.size(r.page_size), before = this.read(r.page_token)
    const sorted = all.filter(i => !before || i.id < before).sort((x, y) => x.id < y.id ? 1 : -1), page = sorted.slice(0, size)
    const last = page.at(-1)
    return [page, last && sorted.length > size ? this.token(last.id) : '']
  }
  // Hits of a search, which is made when the page is known to be sound; a page has a mebibyte beyond its first offer.
  offers(search: () => Msg.ListedOffer[], r: Asked): [Msg.ListedOffer[], string] {
    const size = this.size(r.page_size), from = Number(this.read(r.page_token) || 0), all = search(), page: Msg.ListedOffer[] = []
    for (let i = from, bytes = 0; i < all.length && page.length < size; i++) {
      bytes += encode('ListedOffer', all[i]).length + 8
      if (page.length && bytes > OFFER_BYTES) break
      page.push(all[i])
    }
    const end = from + page.length
    return [page, end < all.length ? this.token(String(end)) : '']
  }
}
