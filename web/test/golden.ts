import { readFileSync } from "node:fs";

/** Reads a fixture that the Rust tests write. */
export function golden<T>(name: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../tests/golden/wire/${name}`, import.meta.url), "utf8")) as T[];
}
