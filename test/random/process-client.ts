/** A consumer within the process: one subscription for each topic, and the last id of each is all that it keeps. */
import { Duplex } from 'node:stream'
import type { AnyItem, TopicSubscription } from '../../lib/index.ts'
import { Client, type Json } from './client.ts'
import type { Cut } from './links.ts'
import { Fault, type TopicModel } from './model.ts'

export class ProcessClient extends Client {
  readonly kind = 'process'
  /** Where it goes on from in each topic. */
  readonly #held = new Map<string, string>()
  readonly #open = new Map<string, TopicSubscription<AnyItem>>()
  #pause: { promise: Promise<void>, end: () => void } | undefined

  /** Nothing travels over it: its end is this client's. It is cut after so many characters of items. */
  protected override makeLink (cut: Cut | undefined): Duplex {
    return new CountingLink(cut?.down ?? cut?.up ?? Infinity)
  }

  protected open (link: Duplex): void {
    link.once('close', () => {
      for (const subscription of this.#open.values()) subscription.return().catch(() => {})
      this.#open.clear()
      this.over()
    })
    for (const topic of this.topics.values()) this.#listen(topic, link)
  }

  #listen (topic: TopicModel, link: Duplex): void {
    const after = this.#held.get(topic.name)
    const subscription = this.world.app.realtime.subscribe(topic.name, { after: after ?? null, slow: this.slow, maxBuffered: 6000 })
    this.#open.set(topic.name, subscription)
    this.#follow(topic, subscription, link).catch((error: Error & { code?: string }) => {
      if (error instanceof Fault) return this.fail(error)
      if (error.code !== 'FST_ERR_REALTIME_SUBSCRIPTION_ENDED') return this.fail(new Fault(`a subscription ended with ${error.stack ?? error.message}`))
      this.trace(`${topic.name} ended: ${error.message}`)
      link.destroy()
    })
  }

  async #follow (topic: TopicModel, subscription: TopicSubscription<AnyItem>, link: Duplex): Promise<void> {
    const isOpen = (): boolean => this.link === link && this.#open.get(topic.name) === subscription
    const ready = await subscription.ready.catch(() => undefined)
    if (!isOpen()) return
    if (ready) this.guard(() => this.#stands(topic, ready.id))
    for await (const item of subscription) {
      if (!isOpen()) return
      this.guard(() => this.#item(topic, item))
      link.write(JSON.stringify(item))
      if (this.#pause) await this.#pause.promise
      if (!isOpen()) return
    }
  }

  #stands (topic: TopicModel, id: string | undefined): void {
    this.trace(`${topic.name} is open, at ${id}`)
    if (topic.limit === undefined) return
    const view = this.view(topic)
    view.awaits = topic.snapshot && !view.placed
    if (!view.placed && !topic.snapshot) {
      const next = id === undefined ? undefined : topic.after(id)
      view.starts(next ?? this.stood.get(topic.name) ?? 0, next ?? topic.count)
    }
    if (id !== undefined) this.#held.set(topic.name, id)
  }

  #item (topic: TopicModel, { id, event, data }: AnyItem): void {
    if (event === 'realtime:reset') this.reset(topic, (data as Json).reason)
    else if (event === 'realtime:snapshot' || event === 'state') {
      this.trace(`snapshot of ${topic.name}: ${JSON.stringify(data)}`)
      this.view(topic).snapshot(this.stateOf(data), id === undefined ? undefined : topic.after(id))
    } else {
      // A conflated consumer is not told where it was moved to.
      if (this.slow === 'latest' && topic.limit !== undefined) this.view(topic).mayJump = true
      this.event(event, event === 'bytes' ? Buffer.from(data as Uint8Array).toString() : JSON.stringify(data), id)
    }
    if (id !== undefined) this.#held.set(topic.name, id)
  }

  protected hold (): void {
    let end = (): void => {}
    const promise = new Promise<void>((resolve) => { end = resolve })
    this.#pause ??= { promise, end }
  }

  protected goOn (): void {
    this.#pause?.end()
    this.#pause = undefined
  }

  join (topic: TopicModel): void {
    if (!this.link || this.topics.has(topic.name)) return
    this.trace(`joins ${topic.name}`)
    this.topics.set(topic.name, topic)
    this.stood.set(topic.name, this.world.floor(topic))
    this.#listen(topic, this.link)
  }

  leave (topic: TopicModel): void {
    if (!this.link || this.topics.size < 2) return
    const subscription = this.#open.get(topic.name)
    if (!subscription) return
    this.trace(`leaves ${topic.name}`)
    subscription.return().catch(() => {})
    this.#open.delete(topic.name)
    this.topics.delete(topic.name)
    this.views.delete(topic.name)
    this.loose.delete(topic.name)
    this.#held.delete(topic.name)
  }
}

class CountingLink extends Duplex {
  #left: number

  constructor (characters: number) {
    super({ decodeStrings: false })
    this.#left = characters
  }

  override _read (): void {}

  override _write (text: string, _encoding: string, done: () => void): void {
    this.#left -= text.length
    if (this.#left <= 0) this.destroy()
    done()
  }
}
