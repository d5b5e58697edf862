/** Undefined if it could not be loaded. */
export declare const ioredis: typeof import('ioredis') | undefined
/** Why it could not be loaded. */
export declare const failure: { error: unknown } | undefined
