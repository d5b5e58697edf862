/** A channel's stream over HTTP: sends `open`, and reads the frames. */
import type { ServerFrame } from '../protocol.ts'
import { bytesOf } from './bytes.ts'
import { EventStreamParser, isEventStream, readText } from './event-stream.ts'
import { CUT, refusalOf, request, type Refusal } from './request.ts'
import type { Opening, Place } from './wire.ts'

type StreamFrame = ServerFrame & { encoding?: 'base64' }

export interface StreamHost {
  heard (frame: ServerFrame): void
  /** Some bytes have arrived from the server, or from a proxy before it. */
  alive (): void
  /** The stream was refused, or has ended. */
  over (why: Refusal): void
}

export class FrameStream {
  readonly #abort = new AbortController()
  readonly #host: StreamHost
  readonly #patience: ReturnType<typeof setTimeout>
  #over = false

  constructor (place: Place, opening: Opening, host: StreamHost) {
    this.#host = host
    this.#patience = setTimeout(() => this.#end(CUT), place.handshakeTimeout)
    this.#read(place, opening).then((why) => this.#end(why), () => this.#end(CUT))
  }

  /** Closes the stream. The host is not called any more. */
  close (): void {
    this.#over = true
    clearTimeout(this.#patience)
    this.#abort.abort()
  }

  #end (why: Refusal): void {
    if (this.#over) return
    this.close()
    this.#host.over(why)
  }

  /** Resolves with the reason of the end. */
  async #read (place: Place, { cursors, topics, token }: Opening): Promise<Refusal> {
    const response = await request(place, {
      body: JSON.stringify({ op: 'open', cursors, topics }),
      token,
      accept: 'text/event-stream',
      signal: this.#abort.signal
    })
    if (!isEventStream(response)) return await refusalOf(response)
    const parser = new EventStreamParser(({ data }) => { if (data && !this.#over) this.#hear(data) })
    await readText(response, this.#abort.signal, (text) => {
      if (!this.#over) this.#host.alive()
      parser.push(text)
      return !this.#over
    })
    return CUT
  }

  /** If a frame cannot be read, this throws, which ends the stream. The client then resumes. */
  #hear (data: string): void {
    clearTimeout(this.#patience)
    const { encoding, ...frame } = JSON.parse(data) as StreamFrame
    if (encoding && 'data' in frame) frame.data = bytesOf(frame.data as string)
    this.#host.heard(frame)
  }
}
