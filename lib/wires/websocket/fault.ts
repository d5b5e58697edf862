import type { Ref } from '../../protocol.ts'

/** A fault of the client's, to be answered by its code. */
export class Fault extends Error {
  readonly code: string
  /** By what the client finds the answer, where that was read before the fault. */
  readonly ref: Ref | undefined

  constructor (code: string, message: string, ref?: Ref) {
    super(message)
    this.code = code
    this.ref = ref
  }
}
