/**
 * One answer over `listen()` of the client: after a lost connection it comes back and goes on where it was, also where a
 * proxy has answered 502 meanwhile, which would be the end of an EventSource.
 *
 * States: opening, thinking, answering, reconnecting, and, at the end, done, stopped, aborted or gone.
 */
import { listen } from '/fastify-realtime-client/index.js'
import { api } from './dom.js'

const path = answerId => `/v1/answers/${encodeURIComponent(answerId)}`

export const howFar = answerId => api('GET', path(answerId))
export const stop = answerId => api('POST', `${path(answerId)}/stop`)
export const cut = answerId => api('POST', '/v1/connections/drop', { answerId })

/** Opens the answer. `on` has `question`, `token`, `begin` (anew), `open` and `state` (with a reason when aborted). */
export function follow (answerId, on) {
  let opened = false
  let speaking = false
  const close = listen(path(answerId), { on: heard(), state: turned })

  function heard () {
    return {
      // The text as it came: a word that looks like JSON is a word.
      question ({ text }) {
        on.question(text)
        on.state(now())
      },
      token ({ text }) {
        on.token(text)
        if (speaking) return
        speaking = true
        on.state(now())
      },
      // What this window has is of an answer that the server has forgotten: it tells it from its start.
      'realtime:reset' () {
        speaking = false
        on.begin()
        on.state(now())
      },
      // The reasons: done or stopped.
      'realtime:end': ({ data: { reason } }) => end(reason),
      // The reasons: failed, too-large or closing.
      'realtime:aborted': ({ data: { reason } }) => end('aborted', reason)
    }
  }

  function turned ({ is }) {
    if (is === 'open') {
      if (opened) on.state(now())
      opened = true
      on.open()
    }
    if (is === 'waiting' && opened) on.state('reconnecting')
    if (is === 'over') on.state('gone')
  }

  const now = () => speaking ? 'answering' : 'thinking'

  function end (state, reason) {
    close()
    on.state(state, reason)
  }

  return { close }
}
