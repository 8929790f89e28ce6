// PURE. What a soft keyboard changed in the hidden text field, as input events.

import type { InputEvent } from "../wire/input";
import { tap, typeText } from "./keyboard";
import { XK } from "./keysyms";

/** Kept in the field so that a soft keyboard has something to delete. */
export const SENTINEL = "_".repeat(32);

/** The edits that turn `before` into `after`: back-spaces over what went, then what came. */
export function edits(before: string, after: string): InputEvent[] {
  const old = Array.from(before);
  const next = Array.from(after);
  let same = 0;
  while (same < old.length && same < next.length && old[same] === next[same]) same += 1;
  const gone = Array.from({ length: old.length - same }, () => tap(XK.BackSpace)).flat();
  return [...gone, ...typeText(next.slice(same).join(""))];
}
