/** The params of a pattern. */

type Simplify<T> = { [K in keyof T]: T[K] }
type SegmentParam<S extends string> =
  S extends `:${infer Name}` ? Name : S extends '*' ? '*' : never
type ParamNames<P extends string> =
  P extends `${infer Head}/${infer Rest}` ? SegmentParam<Head> | ParamNames<Rest> : SegmentParam<P>

/** The params of a topic pattern: `'a/:b/*'` → `{ b: string, '*': string }`. */
export type ParamsOf<P extends string> =
  string extends P ? Record<string, string> : Simplify<{ [K in ParamNames<P>]: string }>

/** Params of a route: its own by name, and any that its prefix has. */
export type RouteParams<Url extends string> = ParamsOf<Url> & { [fromPrefix: string]: string }
