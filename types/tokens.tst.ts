/** Tokens and grants: how they are taken and made, and the app's own claims from sign() to authorize. */
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import realtime from 'fastify-realtime'
import type { Connection, Grant, RealtimeClaims, RealtimeIdentity, SignOptions, TokensOptions, TopicGrant } from 'fastify-realtime'
import { describe, expect, test } from 'tstyche'

declare module 'fastify-realtime' {
  interface RealtimeClaims {
    role?: 'admin' | 'guest'
  }
}

const app = Fastify()
const connection = {} as Connection
const secret = 'a secret of at least thirty-two bytes'

describe('the option', () => {
  test('one secret, several, or verify', () => {
    for (const tokens of [{ secret }, { secret: new Uint8Array(32) }, { keys: { a: secret } }] satisfies TokensOptions[]) {
      expect(app.register).type.toBeCallableWith(realtime, { tokens })
    }
    expect({ keys: { a: secret, b: secret }, kid: 'b', issuer: 'me', audience: ['us'], clockTolerance: 0, maxLifetime: 1000, maxBytes: 1000, query: true }).type.toBeAssignableTo<TokensOptions>()
    expect({ verify: async (_token: string, _request: FastifyRequest) => ({ sub: 'ada', exp: 1 }) }).type.toBeAssignableTo<TokensOptions>()
    expect(app.register).type.toBeCallableWith(realtime, { maxRevocations: 1, revocationAge: 1000, messagesPerSecondPerIdentity: 5, expiry: false, expiryGrace: 0 })
  })

  test('not two of them, nor what is for one alone', () => {
    expect({}).type.not.toBeAssignableTo<TokensOptions>()
    expect({ secret, keys: { a: secret } }).type.not.toBeAssignableTo<TokensOptions>()
    expect({ secret, verify: () => ({}) }).type.not.toBeAssignableTo<TokensOptions>()
    expect({ secret, kid: 'a' }).type.not.toBeAssignableTo<TokensOptions>()
    expect({ verify: () => ({}), issuer: 'me' }).type.not.toBeAssignableTo<TokensOptions>()
    expect({ secret: 7 }).type.not.toBeAssignableTo<TokensOptions>()
  })
})

describe('claims', () => {
  test('those of the app\'s own reach authorize', () => {
    app.topic('rooms/:id', {
      authorize: (_request, { claims }) => {
        expect(claims).type.toBe<RealtimeClaims | undefined>()
        expect(claims?.role).type.toBe<'admin' | 'guest' | undefined>()
        expect(claims?.sub).type.toBe<string | undefined>()
        expect(claims?.realtime?.subscribe).type.toBe<readonly string[] | undefined>()
        return claims?.role === 'admin' && { allow: true, expiresAt: claims.exp * 1000, info: { role: claims.role } }
      }
    })
  })

  test('and are checked where they are signed', () => {
    const room = app.topic('rooms/:id')
    expect(app.realtime.sign).type.toBeCallableWith({ sub: 'ada', subscribe: [room, room.at({ id: '1' }), 'rooms/1'], publish: room, info: { name: 'Ada' }, expiresIn: 60_000, claims: { role: 'admin', other: 1 } })
    expect(app.realtime.sign).type.toBeCallableWith({ sub: 7 })
    expect(app.realtime.sign).type.not.toBeCallableWith({ sub: 'ada', claims: { role: 'king' } })
    expect(app.realtime.sign).type.not.toBeCallableWith({})
    expect(app.realtime.sign).type.not.toBeCallableWith({ sub: 'ada', subscribe: 7 })
    expect(app.realtime.sign).type.not.toBeCallableWith({ sub: 'ada', expiresIn: '1h' })
    expect(app.realtime.sign).type.not.toBeCallableWith({ sub: 'ada', topics: [] })
    expect(app.realtime.sign({ sub: 'ada' })).type.toBe<string>()
    expect<SignOptions['sub']>().type.toBe<string | number | bigint>()
  })
})

describe('grants, and what ends', () => {
  test('only true, and a grant', () => {
    expect(app.topic).type.toBeCallableWith('a', { authorize: 'token' })
    expect({ allow: true as const, expiresAt: 1, info: 1 }).type.toBeAssignableTo<Grant>()
    expect({ allow: false as const }).type.not.toBeAssignableTo<Grant>()
    expect({ allow: true as const, expiresAt: new Date() }).type.not.toBeAssignableTo<Grant>()
  })

  test('a connection shows them', () => {
    expect(connection.grant).type.toBeCallableWith('rooms/1')
    expect<ReturnType<Connection['grant']>>().type.toBe<TopicGrant | undefined>()
    expect<RealtimeIdentity['expiresAt']>().type.toBe<number | undefined>()
  })

  test('revoke is for disconnect alone', () => {
    expect(app.realtime.disconnect).type.toBeCallableWith({ identity: 'ada' }, { revoke: true })
    expect(app.realtime.disconnect).type.not.toBeCallableWith({ identity: 'ada' }, { revoke: 'yes' })
    expect(connection.close).type.not.toBeCallableWith({ revoke: true })
  })
})
