/**
 * What a validator of any compiler returns, read as Fastify reads it (lib/validation.js there):
 *
 * | returns | means |
 * | --- | --- |
 * | `{ error }`, truthy, whatever it is; `false`, with `errors` on the function | the data does not fit |
 * | `{ value }`, undefined and null too | it fits, and this value replaces it |
 * | anything else | it fits |
 * | a promise | fits unless it gives `false` or rejects; anything else it gives is ignored |
 * | a throw, an error with a status of 500 and up | the server failed |
 */
import { statusAsked, toError } from './callbacks.ts'
import type { MaybePromise } from './maybe-promise.ts'

/** `schemaEnv`: only Ajv's validators have it. They can replace the data as a whole only if they get its parent. */
export type Validator = (
  (data: unknown, context?: { parentData: object, parentDataProperty: string }) => unknown
) & { errors?: unknown, schemaEnv?: unknown }

/** `fault`: why the data does not fit, in words for whoever sent it. Without a fault, `value` is to be used. */
export type Checked =
  | { readonly fault: string, readonly value?: never }
  | { readonly fault?: never, readonly value: unknown }

export type Check = (data: unknown) => MaybePromise<Checked>

/** How many faults are named at once, and how many characters the text has. */
const MAX_FAULTS = 5
const MAX_TEXT = 500

/** @throws what the validator throws, as an Error of status 500 */
export function check (validate: Validator, data: unknown): MaybePromise<Checked> {
  const holder = { data }
  const said = call(validate, holder)
  return isPromise(said) ? settled(validate, said, holder) : read(validate, said, holder)
}

function call (validate: Validator, holder: { data: unknown }): unknown {
  const given = holder.data === undefined ? null : holder.data
  try {
    return validate.schemaEnv ? validate(given, { parentData: holder, parentDataProperty: 'data' }) : validate(given)
  } catch (error) {
    throw failed(error)
  }
}

async function settled (validate: Validator, said: PromiseLike<unknown>, holder: { data: unknown }): Promise<Checked> {
  let result: unknown
  try {
    result = await said
  } catch (error) {
    return refusal(error)
  }
  return result === false ? refusal(validate.errors) : { value: holder.data }
}

function read (validate: Validator, said: unknown, holder: { data: unknown }): Checked {
  if (said === false) return refusal(validate.errors)
  if (!said) return { value: holder.data }
  const { error } = said as { error?: unknown }
  if (error) return refusal(error)
  return typeof said === 'object' && 'value' in said ? { value: said.value } : { value: holder.data }
}

function refusal (error: unknown): Checked {
  // An error with a status of 500 and above says nothing about the data.
  if ((statusAsked(error) ?? 0) >= 500) throw failed(error)
  return { fault: describe(error) }
}

function failed (error: unknown): Error {
  return Object.assign(
    new Error(`the validator failed: ${toError(error).message}`, { cause: error }),
    { statusCode: 500 }
  )
}

function isPromise (said: unknown): said is PromiseLike<unknown> {
  return Boolean(said) && typeof (said as { then?: unknown }).then === 'function'
}

/** Describes an error of any library: lists of issues of Ajv and zod, errors of Joi and yup, a string. Never throws. */
export function describe (error: unknown): string {
  try {
    const { issues, message } = Object(error) as { issues?: unknown, message?: unknown }
    const list = Array.isArray(error) ? error : Array.isArray(issues) ? issues : undefined
    const text = list
      ? list.slice(0, MAX_FAULTS).map(describeIssue).join(', ')
      : typeof error === 'string' ? error : message
    return typeof text === 'string' && text !== '' ? text.slice(0, MAX_TEXT) : UNFIT
  } catch {
    return UNFIT
  }
}

const UNFIT = 'data does not match its schema'

function describeIssue (issue: unknown): string {
  if (typeof issue === 'string') return issue
  const { instancePath, path, message } = Object(issue) as { instancePath?: unknown, path?: unknown, message?: unknown }
  return `data${whereIn(instancePath, path)} ${typeof message === 'string' ? message : 'does not match its schema'}`
}

function whereIn (instancePath: unknown, path: unknown): string {
  if (typeof instancePath === 'string') return instancePath === '/' ? '' : instancePath
  return Array.isArray(path)
    ? path
      .map((step: unknown) =>
        `/${String(typeof step === 'object' && step !== null && 'key' in step ? step.key : step)}`)
      .join('')
    : ''
}
