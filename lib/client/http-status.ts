/** Which HTTP statuses are temporary. */

/** Temporary, as is every 5xx. */
const LATER: ReadonlySet<number> = new Set([408, 425, 429])

/** 0 means that there was no answer. */
export const mayComeBack = (status: number): boolean => status === 0 || status >= 500 || LATER.has(status)
