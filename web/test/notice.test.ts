import { describe, expect, it } from "vitest";
import { countdown, nextWords, noticeKey, pending, words, type Pending } from "../src/session/notice";
import type { Notice } from "../src/wire/signal";

const notice = (change: Partial<Notice> = {}): Pending =>
  pending({ action: "suspend", at: 1_801_396_800, leftMs: 300_000, reason: "timeout", homeStays: true, ...change }, 1_000);

const sentence = (of: Pending, now: number): string => {
  const { before, time, after } = words(of, now);
  return before + time + after;
};

describe("what is going to happen", () => {
  it("counts down to the end and says what becomes of the home", () => {
    expect(sentence(notice(), 1_000)).toBe("This desktop is suspended in 5:00; the home stays");
    expect(sentence(notice(), 1_001)).toBe("This desktop is suspended in 5:00; the home stays");
    expect(sentence(notice(), 2_000)).toBe("This desktop is suspended in 4:59; the home stays");
    expect(sentence(notice(), 300_500)).toBe("This desktop is suspended in 0:01; the home stays");
    expect(sentence(notice(), 301_000)).toBe("This desktop is being suspended; the home stays");
    expect(sentence(notice(), 999_999)).toBe("This desktop is being suspended; the home stays");
  });

  it("says nothing of a home that it does not know about", () => {
    expect(sentence(notice({ action: "delete", homeStays: null }), 1_000)).toBe("This desktop is deleted in 5:00");
    expect(sentence(notice({ action: "delete", homeStays: false }), 1_000)).toBe("This desktop is deleted in 5:00, and its home with it");
  });

  it("says why where it knows the word", () => {
    expect(words(notice(), 0).detail).toContain("as long as it may");
    expect(words(notice({ reason: "idle" }), 0).detail).toContain("Nobody");
    for (const reason of [null, "eclipse", "constructor"]) {
      expect(words(notice({ reason }), 0).detail).toBe("Save your work: the programs on it end.");
    }
  });

  it.each([
    [1, "0:01"],
    [59_999, "1:00"],
    [3_599_000, "59:59"],
    [3_600_000, "1:00:00"],
    [7 * 86_400_000, "168:00:00"],
  ])("shows %d ms as %s", (ms, text) => expect(countdown(ms)).toBe(text));

  it("is drawn again when its words change, and no sooner", () => {
    const at = notice();
    let now = 1_000;
    for (let drawn = 0; drawn < 1_000; drawn += 1) {
      const next = nextWords(at, now);
      if (next === null) break;
      expect(sentence(at, now + next)).not.toBe(sentence(at, now));
      expect(sentence(at, now + next - 0.5)).toBe(sentence(at, now));
      now += next;
    }
    expect(now).toBe(at.until);
  });

  it("is the same one when it is said again later", () => {
    const later = pending({ action: "suspend", at: 1_801_396_800, leftMs: 200_000, reason: "timeout", homeStays: true }, 101_000);
    expect(noticeKey(later)).toBe(noticeKey(notice()));
    expect(noticeKey(notice({ at: 1_801_396_801 }))).not.toBe(noticeKey(notice()));
    expect(noticeKey(notice({ action: "delete" }))).not.toBe(noticeKey(notice()));
  });
});
