/**
 * Writes to the members of groups in slices of time, so that a publish to thousands of members does not block the event
 * loop. Messages are written in the order in which they were added, also across topics. A member gets a message whole,
 * and gets it before anything that depends on it (`giveNow`).
 */
import type { Chunk } from '../wire.ts'
import type { Group, Member } from './member.ts'

/** What is written to the members of a group. */
export interface Message {
  readonly bytes: Chunk
  /** Called when all members have been written to. */
  readonly done: (() => void) | undefined
  give (member: Member): void
}

/** A message, and the members that have not been written to. */
interface Job {
  readonly group: Group
  /** Undefined where `giveNow` has written to the member already. */
  readonly members: Array<Member | undefined>
  readonly message: Message
  /** The index of the next member. This member and those before it in the array have not been written to. */
  next: number
}

/** How long one turn of the event loop writes, ms. */
const SLICE_MS = 4
/** How many members are written to between two checks of the clock. `#look` reads as many ahead. */
const STRIDE = 32
/** For so few members or fewer, `#look` is left out. */
const FEW = 4
/** Above either limit everything is written at once, so that the queue does not grow. */
const MAX_JOBS = 64
const MAX_BYTES = 1 << 20

export class FanOut {
  readonly #jobs: Job[] = []
  readonly #resume: () => void
  readonly #sliceMs: number
  #bytes = 0
  #deadline = 0
  /** The last value that `#look` has read. Nothing uses it, but without it the compiler would leave out the reads. */
  seen = 0

  /** `resume` is called when jobs are left. Then `work` must be called in another turn. */
  constructor (resume: () => void, sliceMs = SLICE_MS) {
    this.#resume = resume
    this.#sliceMs = sliceMs
  }

  /** Jobs wait. */
  get busy (): boolean { return this.#jobs.length > 0 }
  /** This turn has used up its time. */
  get spent (): boolean { return performance.now() >= this.#deadline }

  /** Continues in another turn where the last one stopped. True when no job is left. */
  work (): boolean {
    this.#deadline = performance.now() + this.#sliceMs
    for (let job = this.#jobs[0]; job; job = this.#jobs[0]) {
      if (!this.#serve(job.group, job)) break
      this.#drop()
    }
    if (this.busy) this.#resume()
    return !this.busy
  }

  /** Writes to each member now, or after the jobs that wait. `urgent`: writes all of it before this returns. */
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
    // A copy: members may join and leave the group before the job is served.
    this.#jobs.push({ group, members: job.members.slice(0, job.next + 1), message, next: job.next })
    this.#bytes += message.bytes.byteLength
    if (this.#jobs.length > MAX_JOBS || this.#bytes > MAX_BYTES) this.finish()
  }

  /** Writes everything that waits now. */
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
   * Writes what waits for these members, which belong to one client. Call this before the client is told something that
   * must come after these bytes, and before it leaves its groups.
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
   * Serves the members from the last to the first. If a member leaves while it is written to, the last member of the
   * group moves to its place, and that one has been served already. False: the time is up.
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
   * Reads a property of each of the next members, so that the processor fetches the memory of all of them at once.
   * Otherwise each write, a system call, would wait for one cache line after the other: a twentieth of a fan-out's
   * cost.
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
