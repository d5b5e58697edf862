/** The few things every panel needs of the document. Text only ever enters as text. */

export const byId = id => document.getElementById(id)

/** `el('li', { class: 'bid', dataset: { id: 1 }, onclick }, 'text', child)` */
export function el (tag, props = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name === 'dataset') Object.assign(node.dataset, value)
    else if (name.startsWith('on') || name in node) node[name] = value
    else node.setAttribute(name, value)
  }
  node.append(...children.filter(child => child !== undefined && child !== null))
  return node
}

export function icon (name, className) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  svg.setAttribute('class', className)
  svg.setAttribute('aria-hidden', 'true')
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  use.setAttribute('href', `#${name}`)
  svg.append(use)
  return svg
}

/** A person's initial on a colour that is always the same for them. */
export function avatar (userId) {
  let hash = 0
  for (const letter of userId) hash = (hash * 31 + letter.codePointAt(0)) % 997
  return el('span', { className: `avatar hue-${hash % 6}`, 'aria-hidden': 'true', title: userId }, [...userId][0].toUpperCase())
}

const currency = new Intl.NumberFormat('en', { style: 'currency', currency: 'USD', minimumFractionDigits: 0 })
export const money = amount => currency.format(amount)

export const clock = (at = Date.now()) =>
  new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })

/** Newest first, and never more than fit. */
export function prepend (list, node, kept = 30) {
  list.prepend(node)
  while (list.children.length > kept) list.lastElementChild.remove()
}

let hiding
export function toast (text) {
  const node = byId('toast')
  node.textContent = text
  node.hidden = false
  clearTimeout(hiding)
  hiding = setTimeout(() => { node.hidden = true }, 5000)
}
