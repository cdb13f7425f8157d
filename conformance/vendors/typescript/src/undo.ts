// Changes of state that can be taken back, so that what throws halfway leaves nothing behind.
export class Undo {
  private steps: (() => void)[] = []
  // Runs fn; if it throws, nothing of it stays.
  atomic<T>(fn: () => T): T {
    this.steps = []
    try { return fn() } catch (e) {
      for (const back of this.steps.reverse()) back()
      throw e
    } finally { this.steps = [] }
  }
  later(back: () => void) { this.steps.push(back) }
  put<T, K extends keyof T>(o: T, k: K, v: T[K]) { const was = o[k]; this.later(() => { o[k] = was }); o[k] = v }
  push<T>(list: T[], v: T) { list.push(v); this.later(() => { list.pop() }) }
  add<K, V>(m: Map<K, V>, k: K, v: V) { m.set(k, v); this.later(() => { m.delete(k) }) }
}
