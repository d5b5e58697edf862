/** Who is there, as the library's presence tells it: first the list, then who comes and goes. */
import { avatar, el } from './dom.js'
import { me } from './person.js'

/** `hear` takes what each event says, and then tells who is there. */
export function rosterOf (changed) {
  const people = new Map()
  return function hear ({ type, part, members = [], ids = [] }) {
    // Whatever was known before a new list is out of date.
    if (type === 'members' && part === 0) people.clear()
    for (const member of members) people.set(member.id, member)
    for (const id of ids) people.delete(id)
    changed([...people.keys()].sort())
  }
}

export function showPeople (list, people) {
  list.replaceChildren(...people.map(id =>
    el('li', { dataset: { person: id } }, avatar(id), el('span', {}, id === me ? 'You' : id))))
}
