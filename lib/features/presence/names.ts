/** The name of the topic that says who is in another topic: this prefix and the other's name. */

export const PREFIX = 'realtime:presence/'

/** The name of the topic whose members this one says. */
export function subjectOf (name: string): string {
  return name.slice(PREFIX.length)
}
