/** A small chart of the last minutes. */
import { count, rate } from './words.ts'
import { h, setText } from './dom.ts'

const SVG = 'http://www.w3.org/2000/svg'
const WIDTH = 240
const HEIGHT = 44
/** One a second. */
const SAMPLES = 180

export class Chart {
  readonly element: HTMLElement
  readonly #values: number[] = []
  readonly #label: string
  readonly #svg = document.createElementNS(SVG, 'svg')
  readonly #line = document.createElementNS(SVG, 'polyline')
  readonly #area = document.createElementNS(SVG, 'polygon')
  readonly #most = h('span', { class: 'most' })

  constructor (label: string) {
    this.#label = label
    this.#svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`)
    this.#svg.setAttribute('preserveAspectRatio', 'none')
    this.#svg.setAttribute('role', 'img')
    this.#svg.append(this.#area, this.#line)
    this.element = h('div', { class: 'chart' }, this.#svg, this.#most)
    this.#draw()
  }

  add (value: number): void {
    this.#values.push(value)
    if (this.#values.length > SAMPLES) this.#values.shift()
    this.#draw()
  }

  #draw (): void {
    const most = Math.max(1, ...this.#values)
    const start = SAMPLES - this.#values.length
    const points = this.#values.map((value, at) =>
      `${((start + at) / (SAMPLES - 1) * WIDTH).toFixed(1)},${(HEIGHT - 2 - value / most * (HEIGHT - 6)).toFixed(1)}`)
    const first = (start / (SAMPLES - 1) * WIDTH).toFixed(1)
    this.#line.setAttribute('points', points.join(' '))
    this.#area.setAttribute('points',
      points.length === 0 ? '' : `${first},${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}`)
    const highest = this.#values.length === 0 ? 0 : Math.max(...this.#values)
    setText(this.#most, `most ${count(Math.round(highest))} in 3 min`)
    this.#svg.setAttribute('aria-label',
      `${this.#label}: now ${rate(this.#values.at(-1) ?? 0)}, at most ${rate(highest)} in the last three minutes`)
  }
}
