/**
 * The compilers of schemas that the app itself has set in a scope or above it. Fastify builds its own besides, for the
 * routes that need one: these coerce, and are nobody's choice for what travels here.
 */
import type { FastifyInstance } from 'fastify'

/** As Fastify calls it: a validator or a serializer of one schema. */
export type Compile = (
  route: { schema: unknown, method: string, url: string, httpPart?: string, httpStatus?: string }
) => unknown

export interface Compilers {
  readonly validator: Compile | undefined
  readonly serializer: Compile | undefined
}

/** What Fastify keeps of a scope's compilers. */
interface Controller {
  readonly validatorCompiler?: Compile
  readonly serializerCompiler?: Compile
  readonly isCustomValidatorCompiler?: boolean
  readonly isCustomSerializerCompiler?: boolean
  readonly parent?: Controller
}

export function compilersOf (scope: FastifyInstance): Compilers {
  const controller = controllerOf(scope)
  return {
    validator: nearest(controller, 'validatorCompiler', 'isCustomValidatorCompiler'),
    serializer: nearest(controller, 'serializerCompiler', 'isCustomSerializerCompiler')
  }
}

function nearest (controller: Controller | undefined, kind: 'validatorCompiler' | 'serializerCompiler',
  custom: 'isCustomValidatorCompiler' | 'isCustomSerializerCompiler'): Compile | undefined {
  let at = controller
  while (at && !at[kind]) at = at.parent
  return at?.[custom] ? at[kind] : undefined
}

// `scope.validatorCompiler` gives Fastify's own as well, and does not say which it is.
function controllerOf (scope: FastifyInstance): Controller | undefined {
  const key = Object.getOwnPropertySymbols(scope).find(({ description }) => description === 'fastify.schemaController')
  return key && Reflect.get(scope, key) as Controller
}
