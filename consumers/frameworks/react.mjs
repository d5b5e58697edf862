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

export const view = (rt, id = '1', key = 0) => h(StrictMode, null, h(Room, { rt, id, key }))

/** `other`: another room in the same component. `again`: another component in the place of that one, with its effects. */
export async function mount (target, rt) {
  const [{ createRoot }, { flushSync }] = await Promise.all([import('react-dom/client'), import('react-dom')])
  const root = createRoot(target)
  root.render(view(rt))
  return {
    end: () => root.unmount(),
    other: (id) => root.render(view(rt, id)),
    again: (id) => flushSync(() => root.render(view(rt, id, 1)))
  }
}
