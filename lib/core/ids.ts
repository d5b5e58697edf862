/**
 * Order among ids, used only to choose where a read starts: ids are compared for equality everywhere else.
 * An id is `<ms>-<seq>.<nonce>`.
 */
const SHAPE = /^(\d{1,16})-(\d{1,10})\.[\x21-\x7e]+$/

/** Negative when `a` is older than `b`; undefined when either has no order. */
export function compareIds (a: string, b: string): number | undefined {
  const left = SHAPE.exec(a)
  const right = SHAPE.exec(b)
  if (!left || !right) return undefined
  return (Number(left[1]) - Number(right[1])) || (Number(left[2]) - Number(right[2]))
}

export function hasOrder (id: string): boolean {
  return SHAPE.test(id)
}

/** The `<ms>` and `<seq>` of an id. */
export function idParts (id: string): { ms: number, seq: number } | undefined {
  const match = SHAPE.exec(id)
  return match ? { ms: Number(match[1]), seq: Number(match[2]) } : undefined
}
