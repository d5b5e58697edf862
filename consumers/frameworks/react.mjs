// The room in React: StrictMode mounts each component twice.
import { createElement as h, StrictMode, useState } from 'react'
import { useEvent, useStore, useTopic } from '../../.cache/full/recipes/react.mjs'

export function Room ({ rt, id }) {
  const room = useTopic(rt, 'rooms/:room', { room: id })
  const board = useTopic(rt, 'boards/:board', { board: 'a' })
  const [heard, hear] = useState([])
  useEvent(room, 'n', ({ data }) => hear((all) => [...all, data]))
  return h('pre', null, JSON.stringify({
    state: useStore(rt.state).is,
    members: useStore(room.members).map(({ id }) => id),
    board: [...useStore(board.state).keys()],
    heard
  }))
}

export const view = (rt) => h(StrictMode, null, h(Room, { rt, id: '1' }))

/** Returns what ends it; `again` draws it with another room. */
export async function mount (target, rt) {
  const { createRoot } = await import('react-dom/client')
  const root = createRoot(target)
  root.render(view(rt))
  return { end: () => root.unmount(), other: (id) => root.render(h(StrictMode, null, h(Room, { rt, id }))) }
}
