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

  /** `eager`: WebRTC did not get through to this gateway last time, so it is not waited for. */
  constructor(private eager: boolean) {}

  get flowing(): boolean {
    return this.state === "flowing";
  }

  get on(): boolean {
    return this.state !== "off";
  }

  /** Why it cannot be had in this browser; empty if it can. */
  get impossible(): string {
    return this.why;
  }

  /** When {@link poll} has something to do. */
  deadline(now: Situation): number | null {
    return this.state === "off" ? this.begin(now) : this.silence(now);
  }

  /** Does what is due. */
  poll(situation: Situation, now: number): Step {
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
    return first;
  }

  /** An offer was not answered: the next socket is used for this at once. */
  hurry(): void {
    this.eager = true;
  }

  /** Its socket is gone. */
  lost(): void {
    this.state = "off";
  }

  /** This browser cannot show it. */
  failed(why: string): void {
    this.state = "off";
    this.why = why;
  }

  private begin({ offeredSince, showing, peer, peerSince, answered, owedSince }: Situation): number | null {
    if (offeredSince === null || showing || this.why !== "") return null;
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
