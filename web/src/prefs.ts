// What this browser remembers between visits.

import type { TouchMode } from "./input/touch";
import type { Fit } from "./wire/signal";

export interface Prefs {
  fit: Fit;
  touch: TouchMode;
  stats: boolean;
  /** On a Mac: Cmd acts as Control. */
  cmdIsControl: boolean;
}

const KEY = "deskgate.prefs";
const DEFAULTS: Prefs = { fit: "resize", touch: "direct", stats: false, cmdIsControl: true };

/** PURE. Preferences from stored text; whatever is not understood takes its default. */
export function parsePrefs(stored: string | null): Prefs {
  let value: Partial<Record<keyof Prefs, unknown>> = {};
  try {
    const parsed: unknown = JSON.parse(stored ?? "{}");
    if (typeof parsed === "object" && parsed !== null) value = parsed;
  } catch {
    return { ...DEFAULTS };
  }
  return {
    fit: value.fit === "scale" ? "scale" : "resize",
    touch: value.touch === "trackpad" ? "trackpad" : "direct",
    stats: value.stats === true,
    cmdIsControl: value.cmdIsControl !== false,
  };
}

/** Reads them; defaults where storage is forbidden. */
export function loadPrefs(): Prefs {
  try {
    return parsePrefs(localStorage.getItem(KEY));
  } catch {
    return { ...DEFAULTS };
  }
}

/** Stores them, if the browser lets us. */
export function savePrefs(prefs: Prefs): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs));
  } catch {
    // They last as long as the page, then.
  }
}
