// PURE. Small validators for JSON that comes from outside. Each returns the typed value or throws `Malformed`.

/** The JSON does not have the shape that the protocol promises; `path` says where. */
export class Malformed extends Error {
  constructor(path: string, wanted: string) {
    super(`${path || "message"}: expected ${wanted}`);
  }
}

/** Turns unknown JSON into a `T`, or throws {@link Malformed}. */
export type Check<T> = (value: unknown, path: string) => T;

/** Any string. */
export const text: Check<string> = (value, path) => {
  if (typeof value !== "string") throw new Malformed(path, "a string");
  return value;
};

/** `true` or `false`. */
export const flag: Check<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw new Malformed(path, "true or false");
  return value;
};

/** A finite number. */
export const number: Check<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Malformed(path, "a number");
  return value;
};

/** An integer from 0 to `max`. */
export const integer = (max: number): Check<number> => (value, path) => {
  const n = number(value, path);
  if (!Number.isInteger(n) || n < 0 || n > max) throw new Malformed(path, `an integer up to ${max}`);
  return n;
};

/** Unsigned 16-bit integer. */
export const u16 = integer(0xffff);
/** Unsigned 32-bit integer. */
export const u32 = integer(0xffff_ffff);

/** One of the words. */
export const word = <const T extends string>(...words: readonly T[]): Check<T> => (value, path) => {
  const found = words.find((w) => w === value);
  if (found === undefined) throw new Malformed(path, words.join(" | "));
  return found;
};

/** A list of at most `max` items. */
export const list = <T>(item: Check<T>, max = 1_000): Check<T[]> => (value, path) => {
  if (!Array.isArray(value) || value.length > max) throw new Malformed(path, `a list of at most ${max}`);
  return value.map((v: unknown, i) => item(v, `${path}[${i}]`));
};

/** A list of which unknown words are left out: sets that grow with newer gateways. */
export const known = <const T extends string>(...words: readonly T[]): Check<T[]> => (value, path) =>
  list(text)(value, path).flatMap((v) => words.filter((w) => w === v));

/** Absent (or null) becomes `fallback`. */
export const or = <T, F>(fallback: F, check: Check<T>): Check<T | F> => (value, path) =>
  value === undefined || value === null ? fallback : check(value, path);

/** An object with these fields; others are ignored. */
export const shape = <T extends object>(fields: { readonly [K in keyof T]: Check<T[K]> }): Check<T> => (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(path, "an object");
  const source = value as Record<string, unknown>;
  const out: Partial<T> = {};
  for (const key of Object.keys(fields) as (keyof T & string)[]) {
    out[key] = fields[key](source[key], path === "" ? key : `${path}.${key}`);
  }
  return out as T;
};
