// PURE. What keyboards of the viewer's system do differently.

/** The viewer's system, as far as keyboards differ. */
export type Platform = "windows" | "mac" | "mobile" | "other";

/** From `navigator.platform` and `navigator.maxTouchPoints` (iPads call themselves Macs). */
export function platformOf(name: string, userAgent: string, touchPoints: number): Platform {
  if (/iphone|ipad|ipod/i.test(name) || /android/i.test(userAgent)) return "mobile";
  if (/mac/i.test(name)) return touchPoints > 1 ? "mobile" : "mac";
  return /win/i.test(name) ? "windows" : "other";
}
