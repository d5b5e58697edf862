/** A process of its own with rooms, until it is ended: room-node.ts <options as JSON>. Says its port, then what it tells. */
import type { AddressInfo } from 'node:net'
import { openRooms, type RoomOptions } from './rooms.ts'

const told: string[] = []
let say = (line: string): void => { told.push(line) }
const app = await openRooms(JSON.parse(process.argv[2] as string) as RoomOptions, (line) => say(line))
say = console.log
for (const line of [(app.server.address() as AddressInfo).port, ...told]) console.log(line)
