// PURE. Where the picture lies in the window, and which screen pixel is under the pointer.

import type { Point } from "../wire/input";

/** Picture in the window, CSS pixels. */
export interface Layout {
  left: number;
  top: number;
  /** Size of the screen's part of the picture. */
  width: number;
  height: number;
  /** Size of the whole video frame: encoders pad odd screens by a pixel. */
  frameWidth: number;
  frameHeight: number;
  /** CSS pixels per screen pixel. */
  scale: number;
  /** One screen pixel is one device pixel. */
  exact: boolean;
  /** The video has the screen's pixels; otherwise an encoder has reduced it. */
  fullSize: boolean;
  screen: { width: number; height: number };
}

interface Size {
  width: number;
  height: number;
}

/** Screens that differ from the window by no more than this are shown 1:1, device pixels. */
const NEAR = 16;

/** Lays `screen` (pixels) into `area` (CSS pixels); `frame` is the size of the decoded video, 0×0 if none yet. */
export function layout(area: Size, dpr: number, screen: Size, frame: Size): Layout {
  const ratio = dpr > 0 ? dpr : 1;
  const room = { width: area.width * ratio, height: area.height * ratio };
  const exact =
    Math.abs(screen.width - room.width) <= NEAR && Math.abs(screen.height - room.height) <= NEAR;
  const fit = Math.min(room.width / Math.max(1, screen.width), room.height / Math.max(1, screen.height));
  const scale = (exact ? 1 : Math.max(0.01, fit)) / ratio;
  const width = screen.width * scale;
  const height = screen.height * scale;
  // On whole device pixels, else every pixel of a 1:1 picture would be smeared over two.
  const snap = (v: number): number => Math.max(0, Math.round(v * ratio) / ratio);
  const padded = frame.width === screen.width + (screen.width & 1) && frame.height === screen.height + (screen.height & 1);
  return {
    left: snap((area.width - width) / 2),
    top: snap((area.height - height) / 2),
    width,
    height,
    frameWidth: padded ? frame.width * scale : width,
    frameHeight: padded ? frame.height * scale : height,
    scale,
    exact,
    fullSize: padded,
    screen: { width: screen.width, height: screen.height },
  };
}

/** The screen pixel under a place in the area (CSS pixels from its corner), clamped to the screen. */
export function toScreen(at: Layout, x: number, y: number): Point {
  const pixel = (v: number, size: number): number => Math.min(Math.max(0, size - 1), Math.max(0, Math.floor(v + 1e-6)));
  return { x: pixel((x - at.left) / at.scale, at.screen.width), y: pixel((y - at.top) / at.scale, at.screen.height) };
}

/** The place in the area (CSS pixels) of a screen pixel's corner. */
export function toArea(at: Layout, point: Point): { x: number; y: number } {
  return { x: at.left + point.x * at.scale, y: at.top + point.y * at.scale };
}
