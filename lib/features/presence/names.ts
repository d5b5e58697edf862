/** What the topic is called that says who is in another one. */

export const PREFIX = 'realtime:presence/'

/** The name of the topic that it is about. */
export function subjectOf (name: string): string {
  return name.slice(PREFIX.length)
}
