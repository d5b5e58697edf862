/** Who this window is. Two windows of one browser share their cookies, so each says which person it is. */
import { avatar, byId, toast } from './dom.js'

const animals = ['Otter', 'Heron', 'Badger', 'Lynx', 'Wren', 'Hare', 'Seal', 'Finch']

export const me = new URLSearchParams(location.search).get('userId') ?? sessionStorage.getItem('person') ?? somebody()
sessionStorage.setItem('person', me)

/** The URL with this window's person in it. */
export function asMe (path) {
  const url = new URL(path, location.href)
  url.searchParams.set('userId', me)
  return url
}

let token
let asking

/** What opens the dashboard; it lives for ten minutes. */
export const myToken = () => token

/** Sets the signed cookie. */
export async function signIn () {
  const response = await fetch('/v1/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ userId: me })
  })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.message)
  token = answer.token
}

/**
 * Asked before coming back, by several connections at once: a newer token, and whether this person is signed in still.
 * A shop that has forgotten its sessions is signed in to again. Resolves with false for who was signed out everywhere.
 */
export function stayIn () {
  asking ??= ask('GET', '/v1/session')
    .then(answer => { token = answer.token })
    .catch(async error => {
      if (error.code === 'SIGNED_OUT') byId('signed-out').hidden = false
      else if (error.status === 401) await signIn()
    })
    .then(() => byId('signed-out').hidden, () => true)
    .finally(() => { asking = undefined })
  return asking
}

/** What only asks is asked again where the shop cannot be reached; what changes something might be done twice. */
export async function api (method, path, body, tries = method === 'GET' ? 10 : 1) {
  try {
    return await ask(method, path, body)
  } catch (error) {
    if (tries === 1 || error.status < 500) throw error
    await new Promise(resolve => setTimeout(resolve, 1000))
    return await api(method, path, body, tries - 1)
  }
}

async function ask (method, path, body) {
  const response = await fetch(asMe(path), {
    method,
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  })
  const answer = await response.json()
  if (!response.ok) throw Object.assign(new Error(answer.message), { status: response.status, code: answer.code })
  return answer
}

export function showPerson () {
  document.title = `${me} · Pet store · fastify-realtime`
  byId('who-avatar').replaceWith(avatar(me))
  byId('who-name').value = me
  byId('who').addEventListener('submit', event => {
    event.preventDefault()
    const name = byId('who-name').value.trim()
    if (name !== '') location.assign(`/?userId=${encodeURIComponent(name)}`)
  })
  byId('sign-out').addEventListener('click', () => {
    api('DELETE', '/v1/sessions').catch(error => toast(error.message))
  })
  byId('sign-in').addEventListener('click', () => location.reload())
}

function somebody () {
  const animal = animals[Math.floor(Math.random() * animals.length)]
  return `${animal} ${Math.floor(10 + Math.random() * 90)}`
}
