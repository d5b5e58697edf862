/** Tokens made by hand (RFC 7515 §7.1): also such as no library would make. */
import { createHmac, generateKeyPairSync, sign as signBytes } from 'node:crypto'

export const SECRET = 'a secret of at least thirty-two bytes'
export const OTHER_SECRET = 'another one of at least thirty-two bytes'

export const seconds = (): number => Math.floor(Date.now() / 1000)
const base64 = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

export interface Made { header?: object | string, secret?: string | Buffer, hash?: string }

/** Signed by HS256, whatever it says. `claims` may be text, as JSON cannot say everything that a parser takes. */
export function made (claims: object | string, { header = {}, secret = SECRET, hash = 'sha256' }: Made = {}): string {
  const input = `${base64(typeof header === 'string' ? header : { alg: 'HS256', typ: 'JWT', ...header })}.${base64(claims)}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

/** Claims that hold, for a minute. */
export const holding = (more: object = {}): Record<string, unknown> => ({ sub: 'ada', iat: seconds(), exp: seconds() + 60, ...more })

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const PUBLIC_PEM = publicKey.export({ type: 'spki', format: 'pem' }) as string

/** Signed by RS256. */
export function madeByRsa (claims: object): string {
  const input = `${base64({ alg: 'RS256', typ: 'JWT' })}.${base64(claims)}`
  return `${input}.${signBytes('sha256', Buffer.from(input), privateKey).toString('base64url')}`
}

export const bearer = (token: string): { authorization: string } => ({ authorization: `Bearer ${token}` })
