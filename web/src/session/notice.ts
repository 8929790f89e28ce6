// PURE. What is going to happen to the desktop, in words, and how long it is until then.

import type { Notice } from "../wire/signal";

/** A notice on this page's own clock. */
export interface Pending extends Omit<Notice, "leftMs"> {
  /** When it happens, in milliseconds of the page's clock. */
  until: number;
}

/** A notice that came at `now`. */
export function pending({ leftMs, ...notice }: Notice, now: number): Pending {
  return { ...notice, until: now + leftMs };
}

/** Which notice it is: one that somebody has closed comes again with every connection. */
export function noticeKey(notice: Pending): string {
  return `${notice.action} ${notice.at}`;
}

/** A notice for people: `time` stands between `before` and `after`. */
export interface Words {
  before: string;
  time: string;
  after: string;
  /** Why, and what to do. */
  detail: string;
}

const DONE = { suspend: "suspended", delete: "deleted" } as const;
const WHY: ReadonlyMap<string | null, string> = new Map([
  ["timeout", "It has run for as long as it may."],
  ["idle", "Nobody has used it for a while."],
]);

/** The words at `now`. */
export function words(notice: Pending, now: number): Words {
  const left = Math.max(0, notice.until - now);
  const done = DONE[notice.action];
  const detail = [WHY.get(notice.reason) ?? "", "Save your work: the programs on it end."].filter((s) => s !== "").join(" ");
  if (left === 0) return { before: `This desktop is being ${done}`, time: "", after: home(notice), detail };
  return { before: `This desktop is ${done} in `, time: countdown(left), after: home(notice), detail };
}

function home({ homeStays }: Pending): string {
  if (homeStays === null) return "";
  return homeStays ? "; the home stays" : ", and its home with it";
}

/** What is left, as a clock shows it: 4:59, 1:00:00. */
export function countdown(ms: number): string {
  const seconds = Math.ceil(ms / 1_000);
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return h === 0 ? `${m}:${two(s)}` : `${h}:${two(m)}:${two(s)}`;
}

/** Milliseconds until the words are others; null: they stay as they are. */
export function nextWords(notice: Pending, now: number): number | null {
  const left = notice.until - now;
  if (left <= 0) return null;
  return left % 1_000 === 0 ? 1_000 : left % 1_000;
}
