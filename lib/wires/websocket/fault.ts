/** A fault of the client's, to be answered by its code. */
export class Fault extends Error {
  readonly code: string
  constructor (code: string, message: string) {
    super(message)
    this.code = code
  }
}
