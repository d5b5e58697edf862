/** What an HTTP status means for who asked. */

/** After these, as after any 5xx, it may be had later. */
const LATER: ReadonlySet<number> = new Set([408, 425, 429])

/** 0: nothing was answered. */
export const mayComeBack = (status: number): boolean => status === 0 || status >= 500 || LATER.has(status)
