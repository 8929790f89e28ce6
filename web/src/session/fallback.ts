// PURE. Video on the WebSocket, for as long as WebRTC shows nothing: when it is asked for, and when it has died.

/** Times in milliseconds. */
export const FALLBACK = {
  /** WebRTC has this long to connect, from its answer. */
  answered: 1_000,
  /** And this long for the answer: a socket that brings none in twice that time is replaced. */
  unanswered: 2_000,
  /** A connection that was lost, or shows nothing, has this long to mend. */
  lost: 1_000,
  dark: 2_500,
  /** No frame although the gateway repeats one every second. */
  silent: 2_500,
  /** First frame: the encoder may be looking for its hardware. */
  firstFrame: 10_000,
  /** After a player's failure; doubled each time, up to the other. */
  retry: 2_000,
  maxRetry: 60_000,
  /** Frames for this long: the failures before are forgotten. */
  stable: 10_000,
} as const;

/** How the session stands. */
export interface Situation {
  /** When this gateway, which offers it, greeted this socket; null: no such socket. */
  offeredSince: number | null;
  /** True if WebRTC shows a picture. */
  showing: boolean;
  peer: "none" | "connecting" | "connected" | "disconnected" | "failed";
  /** When that state began; for `connecting` that is the answer, once there is one. */
  peerSince: number;
  answered: boolean;
  /** Since when frames are owed: the page is visible, the desktop there; null: none are. */
  owedSince: number | null;
}

/** What is to be done about it. */
export type Step = "begin" | "begin again" | "end" | null;

/** See the module. */
export class Fallback {
  private state: "off" | "asked" | "flowing" = "off";
  private since = 0;
  private lastFrame = -Infinity;
  private why = "";
  private failures = 0;
  private retryAt = -Infinity;

  /** `eager`: WebRTC did not get through to this gateway last time, so it is not waited for. */
  constructor(private eager: boolean) {}

  get flowing(): boolean {
    return this.state === "flowing";
  }

  get on(): boolean {
    return this.state !== "off";
  }

  /** Why there is none, for people; empty if there is, or may soon be. */
  get trouble(): string {
    return this.why;
  }

  /** How often it failed: another player may do better. */
  get attempt(): number {
    return this.failures;
  }

  /** When {@link poll} has something to do. */
  deadline(now: Situation): number | null {
    return this.state === "off" ? this.begin(now) : this.silence(now);
  }

  /** Does what is due. */
  poll(situation: Situation, now: number): Step {
    if (situation.showing) this.failures = 0;
    if (this.state !== "off" && situation.showing) {
      this.state = "off";
      this.eager = false;
      return "end";
    }
    const due = this.deadline(situation);
    if (due === null || now < due) return null;
    const step = this.state === "off" ? "begin" : "begin again";
    this.state = "asked";
    this.since = now;
    return step;
  }

  /** A frame was shown. True if it is the first. */
  frame(now: number): boolean {
    if (this.state === "off") return false;
    this.lastFrame = now;
    const first = this.state === "asked";
    this.state = "flowing";
    this.eager = true;
    this.why = "";
    return first;
  }

  /** An offer was not answered: the next socket is used for this at once. */
  hurry(): void {
    this.eager = true;
  }

  /** Its socket is gone: the next one may do better, where this browser can show it at all. */
  lost(): void {
    this.state = "off";
    if (this.retryAt === Infinity) return;
    this.retryAt = -Infinity;
    this.why = "";
  }

  /** A player or the gateway gave up. `final`: this browser has nothing to show it by. */
  failed(why: string, final: boolean, now: number): void {
    if (this.state === "flowing" && now - this.since >= FALLBACK.stable) this.failures = 0;
    this.state = "off";
    this.why = why;
    this.retryAt = final ? Infinity : now + Math.min(FALLBACK.maxRetry, FALLBACK.retry * 2 ** this.failures);
    this.failures += 1;
  }

  private begin(situation: Situation): number | null {
    const wanted = this.wanted(situation);
    return wanted === null || this.retryAt === Infinity ? null : Math.max(wanted, this.retryAt);
  }

  private wanted({ offeredSince, showing, peer, peerSince, answered, owedSince }: Situation): number | null {
    if (offeredSince === null || showing) return null;
    if (this.eager) return offeredSince;
    switch (peer) {
      case "none":
        return null;
      case "connecting":
        return peerSince + (answered ? FALLBACK.answered : FALLBACK.unanswered);
      case "connected":
        return owedSince === null ? null : Math.max(peerSince, owedSince) + FALLBACK.dark;
      case "disconnected":
        return peerSince + FALLBACK.lost;
      case "failed":
        return Math.max(offeredSince, peerSince);
    }
  }

  private silence({ owedSince }: Situation): number | null {
    if (owedSince === null) return null;
    const patience = this.state === "flowing" ? FALLBACK.silent : FALLBACK.firstFrame;
    return Math.max(owedSince, this.since, this.lastFrame) + patience;
  }
}
