// The room in Svelte.
import { mount as mountApp, unmount } from 'svelte'
import { writable } from 'svelte/store'
import App from './App.svelte'

export async function mount (target, rt) {
  const id = writable('1')
  const app = mountApp(App, { target, props: { rt, id } })
  return { end: () => unmount(app), other: (room) => id.set(room) }
}
