/** The client's token: asked for by one at a time, and renewed before it expires. */

/** `open`: for a new connection. `expiring`: half of its time is over. `refused`: the server has not taken the last. */
export type TokenReason = 'open' | 'expiring' | 'refused'
export type TokenSource = (why: { reason: TokenReason }) => string | Promise<string>

export class Token {
  readonly #source: TokenSource | undefined
  #asking: Promise<string> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor (source: TokenSource | undefined) {
    this.#source = source
  }

  get given (): boolean { return this.#source !== undefined }

  async ask (reason: TokenReason): Promise<string | undefined> {
    const source = this.#source
    if (!source) return undefined
    this.#asking ??= Promise.resolve().then(async () => await source({ reason }))
      .finally(() => { this.#asking = undefined })
    return await this.#asking
  }

  /** In so many ms, if there is a source. A timer's longest time is that of 32 bits. */
  renewIn (ms: number, renew: () => void): void {
    this.stop()
    if (this.#source) this.#timer = setTimeout(renew, Math.min(ms, 2 ** 31 - 1))
  }

  stop (): void {
    clearTimeout(this.#timer)
  }
}
