// The room in Vue.
import { computed, createApp, createSSRApp, h, nextTick, ref, shallowRef } from 'vue'
import { useEvent, useStore } from '../../.cache/full/recipes/vue.mjs'

const Room = {
  props: ['rt', 'id'],
  setup (props) {
    const { rt } = props
    const room = computed(() => rt.topic('rooms/:room', { room: props.id }))
    const heard = ref([])
    const state = useStore(rt.state)
    const members = useStore(() => room.value.members)
    const board = useStore(rt.topic('boards/:board', { board: 'a' }).state)
    useEvent(room, 'n', ({ data }) => heard.value.push(data))
    return () => h('pre', null, JSON.stringify({
      state: state.value.is, members: members.value.map(({ id }) => id), board: [...board.value.keys()], heard: heard.value
    }))
  }
}

const rooms = (rt, id, key) => ({ render: () => h(Room, { rt, id: id.value, key: key.value }) })

export const view = (rt) => createSSRApp(rooms(rt, shallowRef('1'), shallowRef(0)))

export async function mount (target, rt) {
  const [id, key] = [shallowRef('1'), shallowRef(0)]
  const app = createApp(rooms(rt, id, key))
  app.mount(target)
  return {
    end: () => app.unmount(),
    other: (room) => { id.value = room },
    again () {
      key.value++
      return nextTick()
    }
  }
}
