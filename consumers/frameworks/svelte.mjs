// The room in Svelte.
import { flushSync, mount as mountApp, unmount } from 'svelte'
import { writable } from 'svelte/store'
import App from './App.svelte'

export async function mount (target, rt) {
  const shown = writable({ id: '1' })
  const app = mountApp(App, { target, props: { rt, shown } })
  return {
    end: () => unmount(app),
    other: (id) => shown.set({ id }),
    again: (id) => flushSync(() => shown.set({ id }))
  }
}
