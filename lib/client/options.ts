/** Options of the page's: one that is not known is a mistake, and says so. */

/** @throws TypeError */
export function checkOptions (of: string, options: object, known: readonly string[]): void {
  const wrong = Object.keys(options).find((key) => !known.includes(key))
  if (wrong !== undefined) throw new TypeError(`${of}: unknown option "${wrong}"; known: ${known.join()}`)
}
