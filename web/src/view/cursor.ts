// PURE. The desktop's cursor as a CSS value.

import type { CursorMessage } from "../wire/signal";

/** Browsers refuse larger images, CSS pixels. */
const MAX_SIZE = 128;
const MIN_SCALE = 0.25;

/** The image's address; null where there is none. */
export function cursorImage(cursor: CursorMessage): string | null {
  return cursor.png === null || cursor.png === "" ? null : `data:image/png;base64,${cursor.png}`;
}

/**
 * CSS `cursor` values, best first: where a browser takes no `image-set`, the next one is for it.
 * `scale`: CSS pixels per screen pixel.
 */
export function cursorCss(cursor: CursorMessage, scale: number): string[] {
  const url = cursorImage(cursor);
  if (url === null) return ["none"];
  const largest = Math.max(cursor.width, cursor.height, 1);
  const shown = Math.min(Math.max(scale, MIN_SCALE), MAX_SIZE / largest);
  const spot = (v: number, size: number, s: number): number => Math.max(0, Math.min(Math.floor(v * s), Math.ceil(size * s) - 1));
  const plain = `url("${url}") ${spot(cursor.hotX, cursor.width, 1)} ${spot(cursor.hotY, cursor.height, 1)}, default`;
  if (Math.abs(shown - 1) < 0.01) return [plain];
  const density = Math.round((1 / shown) * 1_000) / 1_000;
  const at = `${spot(cursor.hotX, cursor.width, shown)} ${spot(cursor.hotY, cursor.height, shown)}`;
  return [`image-set(url("${url}") ${density}x) ${at}, default`, plain];
}
