/** The full name of a topic, as the server makes it. */

/**
 * `rooms/:id` with `{ id: 'a b' }` is `rooms/a%20b`; `*` takes a path.
 * @throws TypeError if a param is missing
 */
export function nameOf (pattern: string, params: Readonly<Record<string, string>> = {}): string {
  return pattern.replace(/:(\w+)|\*/g, (found, param: string | undefined) => {
    const value = params[param ?? '*']
    if (value === undefined) throw new TypeError(`topic "${pattern}" needs "${param ?? '*'}"`)
    return found === '*' ? value.split('/').map(encoded).join('/') : encoded(value)
  })
}

// A segment of dots only would be taken for a folder, and "*" for a pattern.
function encoded (text: string): string {
  const name = encodeURIComponent(text).replaceAll('*', '%2A')
  return /^\.+$/.test(name) ? name.replaceAll('.', '%2E') : name
}
