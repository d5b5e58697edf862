/** Values that may be there already: most clients arrive without waiting for anything, and need no promise. */
export type MaybePromise<T> = T | Promise<T>

/** Calls `next` in this same step if the value is there. Then what `next` throws is thrown here. */
export function andThen<T, R> (value: T | PromiseLike<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return isThenable(value) ? Promise.resolve(value).then(next) : next(value)
}

/** Runs `failed` if the work fails, at once or later. The error is thrown on. */
export function onFailure<T> (work: () => MaybePromise<T>, failed: () => void): MaybePromise<T> {
  const fail = (error: unknown): never => {
    failed()
    throw error
  }
  try {
    const value = work()
    return value instanceof Promise ? value.catch(fail) : value
  } catch (error) {
    return fail(error)
  }
}

export function isThenable<T> (value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
