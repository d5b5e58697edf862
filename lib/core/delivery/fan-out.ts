/**
 * Writes to the members of groups, in slices: a publish to thousands must not hold the event loop up until the last of
 * them is written to. What waits is written in the order in which it was flushed, whatever its topic; each member gets
 * its bytes whole, and before anything that depends on its having them (`giveNow`).
 */
import type { Chunk } from '../wire.ts'
import type { Group, Member } from './member.ts'

/** What the members of a group are to be given. */
export interface Message {
  readonly bytes: Chunk
  /** All members have been written to. */
  readonly done: (() => void) | undefined
  give (member: Member): void
}

/** Some members of a group, and what they are to be given. */
interface Job {
  readonly group: Group
  /** Undefined for one that was served out of turn. */
  readonly members: Array<Member | undefined>
  readonly message: Message
  /** Members from here down to the first have not been written to. */
  next: number
}

/** A turn of the event loop writes for so long. */
const SLICE_MS = 4
/** Members written to between two looks at the clock, and at those who are next. */
const STRIDE = 32
/** `#look` is left out for fewer members. */
const FEW = 4
/** Past either limit everything is written at once: what waits must not grow. */
const MAX_JOBS = 64
const MAX_BYTES = 1 << 20

export class FanOut {
  readonly #jobs: Job[] = []
  readonly #resume: () => void
  readonly #sliceMs: number
  #bytes = 0
  #deadline = 0
  /** The last value that `#look` has read. Nobody uses it; without it the compiler would leave the reads out. */
  seen = 0

  /** `resume` is called when something is left: `work` must follow in another turn. */
  constructor (resume: () => void, sliceMs = SLICE_MS) {
    this.#resume = resume
    this.#sliceMs = sliceMs
  }

  /** Members wait to be written to. */
  get busy (): boolean { return this.#jobs.length > 0 }
  /** This turn has written enough. */
  get spent (): boolean { return performance.now() >= this.#deadline }

  /** Another turn: goes on where the last one stopped. True when nothing waits any more. */
  work (): boolean {
    this.#deadline = performance.now() + this.#sliceMs
    for (let job = this.#jobs[0]; job; job = this.#jobs[0]) {
      if (!this.#serve(job.group, job)) break
      this.#drop()
    }
    if (this.busy) this.#resume()
    return !this.busy
  }

  /** Writes to each member now, or behind what waits already. `urgent`: all of it is written now. */
  add (group: Group, message: Message, urgent: boolean): void {
    if (urgent) this.finish()
    const job = { group, members: group.members as Array<Member | undefined>, message, next: group.members.length - 1 }
    if (!this.busy) {
      if (urgent) this.#deadline = Infinity
      else if (this.spent) this.#deadline = performance.now() + this.#sliceMs
      const done = this.#serve(group, job)
      if (urgent) this.#deadline = 0
      if (done) return message.done?.()
      this.#resume()
    }
    // Members come and go until their turn.
    this.#jobs.push({ group, members: job.members.slice(0, job.next + 1), message, next: job.next })
    this.#bytes += message.bytes.byteLength
    if (this.#jobs.length > MAX_JOBS || this.#bytes > MAX_BYTES) this.finish()
  }

  /** Writes all that waits. */
  finish (): void {
    if (!this.busy) return
    this.#deadline = Infinity
    for (let job = this.#jobs[0]; job; job = this.#jobs[0]) {
      this.#serve(job.group, job)
      this.#drop()
    }
    this.#deadline = 0
  }

  /**
   * Writes what waits for these members, which are one client's: what it is about to be told, or its leaving, depends
   * on it.
   */
  giveNow (members: readonly Member[]): void {
    if (!this.busy) return
    for (const job of [...this.#jobs]) {
      for (const member of members) {
        const index = member.group === job.group ? job.members.indexOf(member) : -1
        if (index < 0 || index > job.next) continue
        job.members[index] = undefined
        this.#give(job, member)
      }
    }
  }

  /**
   * Serves the members from the last to the first: when a member leaves while it is written to, one that has had its
   * turn takes its place. False: time is up.
   */
  #serve (group: Group, job: Job): boolean {
    if (job.next >= FEW) this.#look(job)
    while (job.next >= 0) {
      const member = job.members[job.next--]
      if (member?.group === group) this.#give(job, member)
      if (job.next % STRIDE !== STRIDE - 1) continue
      if (this.spent) return false
      this.#look(job)
    }
    return true
  }

  /**
   * Reads something of each of the next members, so that the processor fetches what the next writes need of all of them
   * at once. Between writes, each a system call, it would wait for one cache line after the other: a twentieth of a
   * fan-out's cost.
   */
  #look ({ members, next }: Job): void {
    for (let i = next; i >= 0 && i > next - STRIDE; i--) this.seen = members[i]?.buffered ?? 0
  }

  #give (job: Job, member: Member): void {
    try {
      job.message.give(member)
    } catch (error) {
      member.fail(error)
    }
  }

  #drop (): void {
    const message = this.#jobs.shift()?.message
    this.#bytes -= message?.bytes.byteLength ?? 0
    message?.done?.()
  }
}
