/** What the tests of streams as HTTP have in common. */

export const SSE = { accept: 'text/event-stream' }

/** A source that says one thing and ends. */
export async function * briefly (): AsyncGenerator<{ data: string }> {
  yield { data: 'all there is' }
}
