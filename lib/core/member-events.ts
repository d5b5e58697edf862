/** The data of events that say who is there (PROTOCOL.md, section 7), composed of the JSON texts of members. */
import type { LeaveReason } from './adapter.ts'

/** The most members of one event: more go into several events. */
export const MEMBERS_OF_EVENT = 200

/** How the data of all these events begins. */
export function memberEventStart (subject: string): string {
  return `{"topic":${JSON.stringify(subject)}`
}

export function membersText (subject: string, type: 'join' | 'update', members: readonly string[]): string {
  return `${memberEventStart(subject)},"type":"${type}","members":[${members.join(',')}]}`
}

export function leaveText (subject: string, ids: readonly string[], reason: LeaveReason): string {
  return `${memberEventStart(subject)},"type":"leave","ids":${JSON.stringify(ids)},"reason":"${reason}"}`
}

export function countText (subject: string, count: number): string {
  return `${memberEventStart(subject)},"type":"count","count":${count}}`
}
