/**
 * One answer over the browser's own EventSource. After a lost connection it comes back and goes on where it was, by
 * itself. It is closed when the answer is over: nothing follows then.
 *
 * States: opening, thinking, answering, reconnecting, and, at the end, done, stopped, aborted or gone.
 */
import { api } from './dom.js'

const path = answerId => `/v1/answers/${encodeURIComponent(answerId)}`

export const howFar = answerId => api('GET', path(answerId))
export const stop = answerId => api('POST', `${path(answerId)}/stop`)
export const cut = answerId => api('POST', '/v1/connections/drop', { answerId })

/** Opens the answer. `on` has `question`, `token`, `begin` (anew), `open` and `state` (with a reason when aborted). */
export function follow (answerId, on) {
  let source
  let retry
  let lastId = ''
  let opened = false
  let speaking = false
  open()

  function open () {
    const url = new URL(path(answerId), location.href)
    if (lastId !== '') url.searchParams.set('lastEventId', lastId)
    source = new EventSource(url)
    source.onopen = () => {
      if (opened) on.state(now())
      opened = true
      on.open()
    }
    source.onerror = () => {
      if (opened) on.state('reconnecting')
      // Any answer but 200 is final to an EventSource, also a proxy's 502.
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(reopen, opened ? 1000 : 0)
    }
    hear('realtime:open', () => {})
    hear('question', question => {
      on.question(question)
      on.state(now())
    })
    hear('token', token => {
      on.token(token)
      if (!speaking) {
        speaking = true
        on.state(now())
      }
    })
    // What this window has is of an answer that the server has forgotten: it tells it from its start.
    hear('realtime:reset', () => {
      speaking = false
      on.begin()
      on.state(now())
    })
    // The reasons: done or stopped.
    hear('realtime:end', data => end(JSON.parse(data).reason))
    // The reasons: failed, too-large or closing.
    hear('realtime:aborted', data => end('aborted', JSON.parse(data).reason))
  }

  function hear (name, listener) {
    source.addEventListener(name, ({ data, lastEventId }) => {
      lastId = lastEventId
      listener(data)
    })
  }

  const now = () => speaking ? 'answering' : 'thinking'

  function end (state, reason) {
    close()
    on.state(state, reason)
  }

  async function reopen () {
    const from = source
    const { status } = await howFar(answerId).catch(error => error)
    if (source !== from || retry === undefined) return
    if (status >= 400 && status < 500) end('gone')
    else open()
  }

  function close () {
    clearTimeout(retry)
    retry = undefined
    source.close()
  }

  return { close }
}
