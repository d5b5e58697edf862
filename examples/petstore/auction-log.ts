/**
 * One auction, as this node knows it. The auction is its topic: this node hears it, and adds to it by compare and append.
 * What is decided over something else than the topic's last event is not appended; then it is decided anew.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { errors, type Topic, type TopicSubscription, type TopicItem } from 'fastify-realtime'
import { after, AuctionBusy, freshAuction, outbidBy, type Auction, type AuctionEvent, type AuctionEvents } from './auction.ts'
import { StoreAway } from './store.ts'

export type AuctionTopic = Topic<{ auctionId: string }, AuctionEvents>

/** Who is told what: `bidId` names the bid, for it to be told once. */
export interface Outbid { auctionId: string, userId: string, newAmount: number, bidId: string }

export interface AuctionLogHost {
  readonly topic: AuctionTopic
  /** Told by every node that hears the bid, since the one that took it may be gone. */
  tell (outbid: Outbid): Promise<unknown>
}

type Logged = AuctionEvent & { id: string }
type Heard = TopicSubscription<TopicItem<AuctionEvents>>
/** The event that an auction calls for; none: nothing is to be done. It throws what refuses it. */
type Decide = (auction: Auction) => AuctionEvent | undefined

/** Of those that compete one gets through each time, so hardly anybody needs more than a few. */
const mostTries = 50
/** Past it whoever waits for a turn is refused: the answers are late already. */
const patienceMs = 3000
const pageSize = 1000
/** So many of the last events are told again by a node that begins: all nodes may have died before they told. */
const toldAgain = 20

export class AuctionLog {
  readonly #host: AuctionLogHost
  readonly #auctionId: string
  #auction: Auction
  /** The last event that `#auction` contains. */
  #last = ''
  /** Events that it contains, and that are still to be heard. */
  readonly #ahead: string[] = []
  readonly #untold = new Set<Outbid>()
  #heard: Heard | undefined
  #opened: Promise<void> | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor (auctionId: string, host: AuctionLogHost) {
    this.#auctionId = auctionId
    this.#host = host
    this.#auction = freshAuction(auctionId)
  }

  /** As new as the topic: it may be asked about what another node has said already. */
  async read (): Promise<Auction> {
    for (let tries = 0; tries < mostTries; tries++) {
      await this.#open()
      if (await this.#readOn()) return { ...this.#auction }
    }
    throw new StoreAway()
  }

  /**
   * One after the other on this node, so that it does not compete with itself. Resolves with the auction, and what was
   * appended to it.
   */
  async decide (decide: Decide): Promise<Auction> {
    const since = performance.now()
    const turn = this.#turn.then(() => {
      if (performance.now() - since > patienceMs) throw new StoreAway()
      return this.#append(decide)
    })
    this.#turn = turn.catch(() => {})
    return await turn
  }

  /** Tells what could not be told. */
  async tellAgain (): Promise<void> {
    await Promise.all([...this.#untold].map(outbid => this.#tell(outbid)))
  }

  // --- appending -----------------------------------------------------------------------

  async #append (decide: Decide): Promise<Auction> {
    const dedupe = randomUUID()
    for (let tries = 0; tries < mostTries; tries++) {
      await this.#open()
      const expect = this.#last
      const next = decide(this.#auction)
      if (next === undefined) return { ...this.#auction }
      const decided = after(this.#auction, next)
      try {
        const id = await this.#publish(next, expect, dedupe)
        if (this.#last === expect) this.#runAhead({ ...next, id })
        return decided
      } catch (error) {
        if (!(error instanceof errors.Conflict)) throw error
        if (this.#last !== error.last) await this.#readOn()
      }
    }
    throw new AuctionBusy()
  }

  async #publish ({ event, data }: AuctionEvent, expect: string, dedupe: string): Promise<string> {
    const publish = async (): Promise<string> => {
      const { id } = await this.#host.topic.publish({ auctionId: this.#auctionId }, event, data, { expect, dedupe })
      return id!
    }
    try {
      return await publish()
    } catch (error) {
      if (!(error instanceof errors.Unavailable)) throw error
      // Nobody knows whether it was appended. Under its key it is so at most once, and if it was, this is no conflict.
      return await publish()
    }
  }

  /** An event is known before it is heard. When it is heard, it counts no more. */
  #runAhead (event: Logged): void {
    this.#ahead.push(event.id)
    this.#add(event)
  }

  // --- reading -------------------------------------------------------------------------

  /** What has been appended meanwhile, also where it has not been heard yet. False: the topic does not go on from here. */
  async #readOn (): Promise<boolean> {
    const heard = this.#heard
    for (let more = true; more;) {
      const from = this.#last
      const page = await this.#host.topic.history({ auctionId: this.#auctionId }, { after: from, limit: pageSize })
      if (!page.linked) {
        this.#forget(heard)
        // Our subscription may be told a moment later than we, and until then it begins where it was.
        await pause(20)
        return false
      }
      // It was heard while it was read.
      if (this.#last !== from) return true
      for (const event of page.events as Logged[]) this.#runAhead(event)
      more = page.more
    }
    return true
  }

  /** @throws StoreAway */
  async #open (): Promise<void> {
    this.#opened ??= this.#begin(this.#host.topic.subscribe({ auctionId: this.#auctionId }))
    try {
      await this.#opened
    } catch (error) {
      throw Object.assign(new StoreAway(), { cause: error })
    }
  }

  /**
   * First it listens, then it reads up to where it listens from. Where that is not in the history, nothing up to there is
   * kept: Redis is new, or nothing was said for longer than `maxAge`. Then the auction is as new.
   */
  async #begin (heard: Heard): Promise<void> {
    this.#heard = heard
    try {
      const { id } = await heard.ready
      this.#start(id!, await this.#past(id!))
    } catch (error) {
      this.#forget(heard)
      throw error
    }
    this.#hear(heard).catch(() => {}).finally(() => this.#forget(heard))
  }

  #start (last: string, past: Logged[]): void {
    this.#auction = freshAuction(this.#auctionId)
    this.#ahead.length = 0
    for (const [i, event] of past.entries()) this.#add(event, i >= past.length - toldAgain)
    this.#last = last
  }

  async #past (last: string): Promise<Logged[]> {
    const past: Logged[] = []
    for (let more = true; more;) {
      const from = past.at(-1)?.id
      const page = await this.#host.topic.history(
        { auctionId: this.#auctionId }, { limit: pageSize, ...(from !== undefined && { after: from }) })
      past.push(...page.events as Logged[])
      more = page.more
    }
    return past.slice(0, past.findIndex(({ id }) => id === last) + 1)
  }

  /** Until events are lost, or the app closes. What is lost is read again by the next who asks, the clock at the latest. */
  async #hear (heard: Heard): Promise<void> {
    for await (const item of heard) {
      if (item.event === 'realtime:reset') return
      if (item.id === this.#ahead[0]) this.#ahead.shift()
      else this.#add(item as Logged)
    }
  }

  #forget (heard: Heard | undefined): void {
    if (this.#heard !== heard) return
    this.#opened = undefined
    heard?.return().catch(() => {})
  }

  #add (event: Logged, tells = true): void {
    const userId = outbidBy(this.#auction, event)
    this.#auction = after(this.#auction, event)
    this.#last = event.id
    if (!tells || userId === undefined) return
    const outbid = { auctionId: this.#auctionId, userId, newAmount: this.#auction.amount!, bidId: event.id }
    this.#tell(outbid).catch(() => this.#untold.add(outbid))
  }

  async #tell (outbid: Outbid): Promise<void> {
    await this.#host.tell(outbid)
    this.#untold.delete(outbid)
  }
}
