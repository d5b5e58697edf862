/**
 * A table whose rows keep their elements while they are there: what is pressed or selected does not go away under it.
 */
import { empty, h, setText } from './dom.ts'

export interface Column<Row> {
  label: string
  class?: string
  /** What changes with the row. */
  text?: (row: Row) => string
  /** Made once for a row; `now` is the row as it is when it is asked. What it returns to be called when it changes. */
  make?: (cell: HTMLTableCellElement, now: () => Row) => ((row: Row) => void) | void
}

interface Kept<Row> { element: HTMLTableRowElement, row: Row, update: Array<(row: Row) => void> }

export class Table<Row> {
  readonly element: HTMLElement
  readonly #columns: ReadonlyArray<Column<Row>>
  readonly #keyOf: (row: Row) => string
  readonly #body = h('tbody')
  readonly #table: HTMLTableElement
  readonly #nothing: HTMLElement
  readonly #kept = new Map<string, Kept<Row>>()

  constructor (caption: string, keyOf: (row: Row) => string, columns: ReadonlyArray<Column<Row>>, nothing: string) {
    this.#columns = columns
    this.#keyOf = keyOf
    this.#nothing = empty(nothing)
    this.#table = h('table', {}, h('caption', { class: 'hidden' }, caption), h('thead', {}, h('tr', {},
      ...columns.map(({ label, class: kind }) => h('th', { class: kind ?? '', attrs: { scope: 'col' } }, label)))),
    this.#body)
    this.element = h('div', { class: 'rows' }, this.#table, this.#nothing)
    this.show([])
  }

  show (rows: readonly Row[], nothing?: string): void {
    const gone = new Set(this.#kept.keys())
    const elements = rows.map((row) => {
      const key = this.#keyOf(row)
      gone.delete(key)
      return this.#row(key, row)
    })
    for (const key of gone) this.#drop(key)
    elements.forEach((element, at) => {
      if (this.#body.children[at] !== element) this.#body.insertBefore(element, this.#body.children[at] ?? null)
    })
    if (nothing !== undefined) setText(this.#nothing, nothing)
    this.#table.hidden = rows.length === 0
    this.#nothing.hidden = rows.length > 0
  }

  #drop (key: string): void {
    this.#kept.get(key)?.element.remove()
    this.#kept.delete(key)
  }

  #row (key: string, row: Row): HTMLTableRowElement {
    const kept = this.#kept.get(key) ?? this.#make(key, row)
    kept.row = row
    for (const update of kept.update) update(row)
    return kept.element
  }

  #make (key: string, row: Row): Kept<Row> {
    const kept: Kept<Row> = { element: h('tr'), row, update: [] }
    this.#kept.set(key, kept)
    for (const { label, class: kind = '', text, make } of this.#columns) {
      const cell = h('td', { class: kind, attrs: { 'data-label': label } })
      kept.element.append(cell)
      if (text) kept.update.push((now) => setText(cell, text(now)))
      const update = make?.(cell, () => kept.row)
      if (update) kept.update.push(update)
    }
    return kept
  }
}
