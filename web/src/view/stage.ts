// The picture in the window, and the pointers over it.

import type { CursorMessage, Rect } from "../wire/signal";
import type { Point } from "../wire/input";
import { cursorCss, cursorImage } from "./cursor";
import { sizeOf } from "../stream/stream";
import { layout, toArea, type Layout } from "./geometry";

/** Room kept under the pointer when a soft keyboard covers part of the window, CSS pixels. */
const KEYBOARD_MARGIN = 72;

/** Lays out the video and draws cursors. */
export class Stage {
  layout: Layout;
  private cursor: CursorMessage | null = null;
  private css: string[] = [];
  private lift = 0;
  private drawn: Point | null = null;
  private other: Point | null = null;
  private next: HTMLCanvasElement | HTMLVideoElement | null = null;
  private over: HTMLCanvasElement | HTMLVideoElement | null = null;

  constructor(
    readonly element: HTMLElement,
    private readonly picture: HTMLElement,
    private readonly video: HTMLVideoElement,
    private readonly still: HTMLCanvasElement,
    private readonly pointer: HTMLImageElement,
    private readonly otherPointer: HTMLElement,
  ) {
    this.layout = layout(this.area, devicePixelRatio, { width: 1, height: 1 }, { width: 0, height: 0 });
  }

  /** The area for the picture, CSS pixels. */
  get area(): { width: number; height: number } {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  /** Lays the picture out anew; `screen` unknown: the video's own size. */
  place(screen: Rect | null): void {
    const frame = sizeOf(this.over ?? this.video);
    const size = screen ?? frame;
    const next = layout(this.area, devicePixelRatio, size, frame);
    next.top -= this.lift;
    this.layout = next;
    const { style } = this.picture;
    style.transform = `translate(${next.left}px, ${next.top}px)`;
    style.width = `${next.width}px`;
    style.height = `${next.height}px`;
    for (const layer of [this.video, this.still, this.over]) {
      if (layer === null) continue;
      layer.style.width = `${next.frameWidth}px`;
      layer.style.height = `${next.frameHeight}px`;
    }
    // Enlarged by whole factors, pixels stay pixels; otherwise they are smoothed.
    const factor = next.scale * devicePixelRatio;
    for (const layer of [this.video, this.over]) {
      layer?.classList.toggle("crisp", next.fullSize && factor >= 2 && Number.isInteger(factor));
    }
    this.drawCursor();
    this.showPointer(this.drawn);
    this.showOther(this.other);
  }

  /** Keeps the present picture over the video, which goes black when its stream ends. */
  freeze(): void {
    const from = this.over ?? this.video;
    const { width, height } = sizeOf(from);
    if (width === 0 || height === 0 || !this.still.hidden) return;
    this.still.hidden = false;
    this.still.width = width;
    this.still.height = height;
    this.still.getContext("2d")?.drawImage(from, 0, 0);
  }

  /** Lays another picture over the video, to be seen from {@link reveal} on; null: takes it away. */
  overlay(element: HTMLCanvasElement | HTMLVideoElement | null): void {
    this.next?.remove();
    this.next = element;
    this.over = null;
    if (element === null) return;
    // Not `hidden`: browsers do not decode what cannot be seen.
    element.classList.add("picture", "clear");
    this.video.after(element);
  }

  /** The overlay has a picture. True the first time. */
  reveal(): boolean {
    if (this.over === this.next) return false;
    this.over = this.next;
    this.over?.classList.remove("clear");
    return true;
  }

  /** The overlay is what is seen. */
  get overlaid(): boolean {
    return this.over !== null;
  }

  /** The video has a picture again. */
  thaw(): void {
    this.still.hidden = true;
  }

  /** Moves the picture up while a soft keyboard covers `covered` CSS pixels, so that `at` stays in sight. */
  liftFor(covered: number, at: Point): void {
    const y = toArea(this.layout, at).y + this.lift;
    const visible = this.area.height - covered;
    this.lift = covered > 0 ? Math.round(Math.min(covered, Math.max(0, y + KEYBOARD_MARGIN - visible))) : 0;
  }

  /** The desktop's cursor has another shape. */
  setCursor(cursor: CursorMessage): void {
    this.cursor = cursor;
    const image = cursorImage(cursor);
    if (image !== null) this.pointer.src = image;
    this.drawCursor();
    this.showPointer(this.drawn);
  }

  /** With control the desktop's cursor is shown, without it the browser's own. */
  setControlling(controlling: boolean): void {
    this.element.classList.toggle("controlling", controlling);
    this.drawCursor();
  }

  /** Draws the cursor on the page; null: the browser draws it. */
  showPointer(at: Point | null): void {
    this.drawn = at;
    const cursor = this.cursor?.png ? this.cursor : null;
    this.pointer.hidden = at === null || cursor === null;
    if (at === null || cursor === null) return;
    const { scale } = this.layout;
    const place = toArea(this.layout, { x: at.x - cursor.hotX, y: at.y - cursor.hotY });
    const { style } = this.pointer;
    style.width = `${cursor.width * scale}px`;
    style.height = `${cursor.height * scale}px`;
    style.transform = `translate(${place.x}px, ${place.y}px)`;
  }

  /** Draws the controller's pointer for those who watch; null: none. */
  showOther(at: Point | null): void {
    this.other = at;
    this.otherPointer.hidden = at === null;
    if (at === null) return;
    const place = toArea(this.layout, at);
    this.otherPointer.style.transform = `translate(${place.x}px, ${place.y}px)`;
  }

  private drawCursor(): void {
    const controlling = this.element.classList.contains("controlling");
    const css = controlling && this.cursor ? cursorCss(this.cursor, this.layout.scale) : ["default"];
    if (css.join() === this.css.join()) return;
    this.css = css;
    const { style } = this.element;
    for (const value of css.toReversed()) style.cursor = value;
  }
}
