/** The few things every part of the page needs. Text only ever enters as text. */

export const byId = id => document.getElementById(id)

export function el (tag, className, text) {
  const node = document.createElement(tag)
  node.className = className
  node.textContent = text
  return node
}

export async function api (method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) })
  })
  const answer = await response.json()
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status })
  return answer
}

let hiding
export function toast (text) {
  const node = byId('toast')
  node.textContent = text
  node.hidden = false
  clearTimeout(hiding)
  hiding = setTimeout(() => { node.hidden = true }, 5000)
}
