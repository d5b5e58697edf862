/** Makes elements. Whatever a server or a client has said is text here: no markup is ever made of it. */

export type Child = Node | string | number | false | undefined | null
type Attributes = Record<string, string | number | boolean | undefined>
interface Props {
  class?: string
  attrs?: Attributes
  on?: Record<string, (event: Event) => void>
}

export function h<Tag extends keyof HTMLElementTagNameMap> (
  tag: Tag, props: Props = {}, ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  if (props.class) element.className = props.class
  for (const [name, value] of Object.entries(props.attrs ?? {})) setAttribute(element, name, value)
  for (const [event, run] of Object.entries(props.on ?? {})) element.addEventListener(event, run)
  element.append(...nodesOf(children))
  return element
}

export function setAttribute (element: Element, name: string, value: string | number | boolean | undefined): void {
  if (value === undefined || value === false) element.removeAttribute(name)
  else element.setAttribute(name, value === true ? '' : String(value))
}

export function fill (element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodesOf(children))
}

/** Nothing is touched where it is so already: what somebody reads or has selected stays. */
export function setText (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

function nodesOf (children: readonly Child[]): Array<Node | string> {
  return children.flatMap((child) => child === false || child === undefined || child === null
    ? []
    : [typeof child === 'number' ? String(child) : child])
}

/** `run` may take a while: meanwhile it cannot be pressed again. What goes wrong is told. */
export function button (
  label: string, run: () => unknown, { kind = '', title }: { kind?: string, title?: string } = {}
): HTMLButtonElement {
  const element = h('button', { class: kind, attrs: { type: 'button', title } }, label)
  element.addEventListener('click', () => {
    element.disabled = true
    Promise.resolve().then(run).catch(tell).finally(() => { element.disabled = false })
  })
  return element
}

/** What cannot be undone wants to be pressed twice. */
export function twice (label: string, run: () => unknown, title: string): HTMLButtonElement {
  let sure = false
  const element = button(label, async () => {
    if (!sure) return ask(true)
    ask(false)
    await run()
  }, { kind: 'danger', title })
  const ask = (asked: boolean): void => {
    sure = asked
    setText(element, asked ? `${label}: sure?` : label)
  }
  element.addEventListener('blur', () => { if (!element.disabled) ask(false) })
  return element
}

/** What went wrong, or was done, where everybody sees it and screen readers say it. */
export function tell (what: unknown, kind: 'error' | 'done' = 'error'): void {
  const text = what instanceof Error ? what.message : String(what)
  const area = document.getElementById('told') ??
    document.body.appendChild(h('div', { attrs: { id: 'told', role: 'status' } }))
  const note = h('p', { class: kind }, text)
  area.append(note)
  while (area.childElementCount > 4) area.firstElementChild?.remove()
  setTimeout(() => note.remove(), 6000)
}

export function empty (text: string): HTMLParagraphElement { return h('p', { class: 'empty' }, text) }

export function field (label: string, input: HTMLElement, hint?: string): HTMLLabelElement {
  return h('label', { class: 'field' }, h('span', {}, label), input, hint && h('small', {}, hint))
}

/** What is short stays on one line. */
export function json (value: unknown): string {
  const short = JSON.stringify(value) ?? 'undefined'
  return short.length <= 60 ? short : JSON.stringify(value, null, 2)
}
