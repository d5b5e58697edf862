/** Reads an event stream (WHATWG HTML §9.2.6). */

export interface StreamBlock { event?: string, data?: string, id?: string, retry?: number }

export class EventStreamParser {
  readonly #emit: (block: StreamBlock) => void
  #rest = ''
  #block: StreamBlock = {}

  constructor (emit: (block: StreamBlock) => void) {
    this.#emit = emit
  }

  push (text: string): void {
    // A CR at the end may be half of a CRLF: it waits for what follows.
    const all = this.#rest + text
    const end = all.endsWith('\r') ? all.length - 1 : all.length
    const lines = all.slice(0, end).split(/\r\n|\r|\n/)
    this.#rest = (lines.pop() as string) + all.slice(end)
    for (const line of lines) this.#line(line)
  }

  #line (line: string): void {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
    this.#field(field, value)
  }

  #field (field: string, value: string): void {
    const block = this.#block
    if (field === 'data') block.data = block.data === undefined ? value : `${block.data}\n${value}`
    else if (field === 'event') block.event = value
    else if (field === 'id' && !value.includes('\0')) block.id = value
    else if (field === 'retry' && /^\d+$/.test(value)) block.retry = Number(value)
  }

  #dispatch (): void {
    const block = this.#block
    this.#block = {}
    this.#emit(block)
  }
}
