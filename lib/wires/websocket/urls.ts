/** Which URLs are channels, asked where the app's own router cannot be: an upgrade may be somebody else's. */
import type { IncomingMessage } from 'node:http'
import FindMyWay from 'find-my-way'
import type { FastifyInstance } from 'fastify'

type RouterConfig = { caseSensitive?: boolean, ignoreTrailingSlash?: boolean, ignoreDuplicateSlashes?: boolean }

/** Those of Fastify's constraints that a request alone can tell. */
export interface Constraints {
  readonly host?: string | RegExp
  readonly version?: string
}

type Rewrite = (this: FastifyInstance, raw: IncomingMessage) => unknown

export class ChannelUrls {
  readonly #app: FastifyInstance
  readonly #routes: Array<{ url: string, constraints: Constraints }> = []
  #router: ReturnType<typeof FindMyWay> | undefined

  constructor (app: FastifyInstance) {
    this.#app = app
  }

  get none (): boolean { return this.#routes.length === 0 }

  add (url: string, { host, version }: Constraints = {}): void {
    const constraints: Constraints = { ...(host !== undefined && { host }), ...(version !== undefined && { version }) }
    this.#routes.push({ url, constraints })
  }

  has (raw: IncomingMessage): boolean {
    this.#router ??= this.#build()
    const { host, 'accept-version': version } = raw.headers
    return this.#router.find('GET', this.#rewritten(raw), { host, version })?.handler === isChannel
  }

  #build (): ReturnType<typeof FindMyWay> {
    const { routerOptions = {}, caseSensitive = true, ignoreTrailingSlash = false, ignoreDuplicateSlashes = false } =
      this.#app.initialConfig as RouterConfig & { routerOptions?: RouterConfig }
    const router = FindMyWay({
      caseSensitive: caseSensitive && routerOptions.caseSensitive !== false,
      ignoreTrailingSlash: ignoreTrailingSlash || routerOptions.ignoreTrailingSlash === true,
      ignoreDuplicateSlashes: ignoreDuplicateSlashes || routerOptions.ignoreDuplicateSlashes === true,
      allowUnsafeRegex: true,
      // The app's own router says what is too long, with an answer.
      maxParamLength: 1 << 16
    })
    for (const { url, constraints } of this.#routes) {
      // Two that differ in a constraint of the app's own are one here.
      if (!router.hasRoute('GET', url, constraints)) router.on('GET', url, { constraints }, isChannel)
    }
    return router
  }

  /** As the app's own router will see it. */
  #rewritten (raw: IncomingMessage): string {
    const url = raw.url ?? '/'
    try {
      const rewritten = rewriteOf(this.#app)?.call(this.#app, raw)
      return typeof rewritten === 'string' ? rewritten : url
    } catch {
      // The app's router will fail as well, and answer.
      return url
    }
  }
}

function isChannel (): void {}

/** Fastify shows nobody this option: it is kept under a symbol, on the root of all scopes. */
function rewriteOf (app: FastifyInstance): Rewrite | undefined {
  for (let scope: object | null = app; scope !== null; scope = Object.getPrototypeOf(scope) as object | null) {
    const key = Object.getOwnPropertySymbols(scope).find(({ description }) => description === 'fastify.options')
    if (key) return (Reflect.get(scope, key) as { rewriteUrl?: Rewrite }).rewriteUrl
  }
  return undefined
}
