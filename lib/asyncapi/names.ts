/** Keys in a document: letters, digits and `.-_`. */

export function keyOf (text: string): string {
  return text.replace(/[^A-Za-z0-9._-]+/g, '_').replace(/^_+|_+$/g, '') || '_'
}

/** Keys that differ from each other, whatever they are made of. */
export class Names {
  readonly #taken = new Set<string>()

  of (text: string): string {
    const wanted = keyOf(text)
    let name = wanted
    for (let n = 2; this.#taken.has(name); n++) name = `${wanted}_${n}`
    this.#taken.add(name)
    return name
  }
}
