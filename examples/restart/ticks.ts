/** What is published, and who publishes it: an app that nobody listens on, which outlives the nodes. */
import Fastify, { type FastifyInstance } from 'fastify'
import realtime from 'fastify-realtime'
import { redis } from 'fastify-realtime/redis'

export const TOPIC = 'ticks'
const everyMs = 50

export class Ticks {
  /** The last number that was published for certain. */
  last = 0
  readonly #app: FastifyInstance
  #timer: NodeJS.Timeout | undefined
  #publishing: Promise<unknown> = Promise.resolve()
  #stopped = false

  private constructor (app: FastifyInstance) {
    this.#app = app
  }

  static async start (redisUrl: string): Promise<Ticks> {
    const app = Fastify()
    await app.register(realtime, { adapter: redis(redisUrl) })
    app.topic(TOPIC)
    await app.ready()
    const ticks = new Ticks(app)
    ticks.#next()
    return ticks
  }

  #next (): void {
    this.#publishing = this.#publish().then(() => {
      if (!this.#stopped) this.#timer = setTimeout(() => this.#next(), everyMs)
    })
  }

  /** Tried until it is there: under its key it is not doubled. */
  async #publish (): Promise<void> {
    const n = this.last + 1
    while (!this.#stopped) {
      try {
        await this.#app.realtime.publish(TOPIC, 'tick', { n }, { dedupe: String(n) })
        this.last = n
        return
      } catch {
        // Redis is away, for instance. The next try is the same event.
      }
    }
  }

  /** Resolves when nothing more will be published; says to whoever watches how many there were. */
  async finish (): Promise<void> {
    await this.pause()
    await this.#app.realtime.publish(TOPIC, 'over', { last: this.last })
  }

  async pause (): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#publishing
  }

  async stop (): Promise<void> {
    await this.pause()
    await this.#app.close()
  }
}
