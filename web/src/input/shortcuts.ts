// PURE. Key combinations that browsers or systems keep for themselves, for the menu.

import type { InputEvent } from "../wire/input";
import { chord } from "./keyboard";
import { keysymOfChar, XK } from "./keysyms";

/** A combination that the menu can send. */
export interface Shortcut {
  label: string;
  events: InputEvent[];
}

const { ControlLeft, AltLeft, SuperLeft, ShiftLeft } = XK;

/** In the menu's order. */
export const SHORTCUTS: readonly Shortcut[] = [
  { label: "Ctrl+Alt+Del", events: chord(ControlLeft, AltLeft, XK.Delete) },
  { label: "Alt+Tab", events: chord(AltLeft, XK.Tab) },
  { label: "Super", events: chord(SuperLeft) },
  { label: "Esc", events: chord(XK.Escape) },
  { label: "Alt+F4", events: chord(AltLeft, XK.F4) },
  { label: "Ctrl+W", events: chord(ControlLeft, keysymOfChar("w")) },
  { label: "Ctrl+Shift+T", events: chord(ControlLeft, ShiftLeft, keysymOfChar("T")) },
  { label: "Print", events: chord(XK.Print) },
  { label: "Tab", events: chord(XK.Tab) },
];
