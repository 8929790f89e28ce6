// PURE. The life of one page's session: socket, peer connection, pictures. Events and time in, effects out.

import { STREAM, VERSION, type ByeReason, type IceServer, type Rect, type Right, type ServerHello, type ServerMessage, type Settings, type Status, type TurnAccess } from "../wire/signal";
import { backoff } from "./backoff";
import { Fallback, type Situation } from "./fallback";
import { pending, type Pending } from "./notice";

/** Result of asking the gateway whether this browser may in. */
export type Access = "ok" | "denied" | "unreachable";
/** RTCPeerConnection.connectionState, as far as it matters. */
export type PeerState = "connecting" | "connected" | "disconnected" | "failed";

/** What happened. `generation` says of which peer connection; stale ones are ignored. */
export type SessionEvent =
  | { kind: "start"; token: boolean }
  /** `hint`: how to get in, where that was denied. */
  | { kind: "login"; access: Access; hint?: string }
  | { kind: "access"; access: Access; hint?: string }
  | { kind: "socketOpen" }
  | { kind: "socketClosed" }
  | { kind: "message"; message: ServerMessage }
  | { kind: "peer"; generation: number; state: PeerState }
  /** RTP or a frame arrived, `ago` milliseconds before; `frame`: one was presented. */
  | { kind: "media"; generation: number; frame: boolean; ago: number }
  /** A frame of the WebSocket's video was shown. */
  | { kind: "streamFrame" }
  /** The WebSocket's video cannot be shown; the message is for people. `final`: this browser has nothing to do it by. */
  | { kind: "streamFailed"; message: string; final: boolean }
  | { kind: "visible"; visible: boolean }
  /** A person pressed the button. */
  | { kind: "retry" }
  /** The network came back. */
  | { kind: "online" }
  | { kind: "leave" };

/** What the driver is to do. */
export type Effect =
  | { kind: "login" }
  | { kind: "checkAccess" }
  | { kind: "openSocket" }
  | { kind: "closeSocket" }
  | { kind: "hello"; resume: string | null }
  | { kind: "newPeer"; generation: number }
  | { kind: "closePeer" }
  /** Video on the WebSocket, from the start; it may be under way already. `attempt`: how often it has failed. */
  | { kind: "openStream"; attempt: number }
  /** `replaced`: WebRTC shows the picture now. */
  | { kind: "closeStream"; replaced: boolean }
  /** Whether WebRTC got through to this gateway, for the next visit. */
  | { kind: "remember"; blocked: boolean };

type Socket = "closed" | "opening" | "greeting" | "ready";

/** Times in milliseconds. */
export const LIMITS = {
  /** Socket to open, hello and offer to be answered. */
  answer: 4_000,
  /** Peer connection to connect, after its answer. */
  connect: 10_000,
  /** `disconnected` that does not heal. */
  disconnected: 3_000,
  /** No RTP although the gateway repeats a frame every second. */
  silent: 2_500,
  /** The same after the socket was replaced: likely another gateway process. */
  silentAfterResume: 2_000,
  /** First frame of a connection: the encoder may be looking for its hardware. */
  firstFrame: 10_000,
  /** A socket that lived this long was a success: the back-off starts anew. */
  stable: 3_000,
  /** Between two looks for a gateway that said good-bye. */
  afterBye: 3_000,
} as const;

/** Errors that stand in the place of an answer. */
export const OFFER_REFUSED: readonly string[] = ["noCodec", "badOffer"];

/** Everything that the page shows about the session. */
export interface Facts {
  viewer: number | null;
  rights: readonly Right[];
  settings: Settings | null;
  screens: readonly Rect[];
  status: Status | null;
  heartbeatMs: number;
  /** Shown in the next `hello`, to go on as the same viewer. */
  ticket: string | null;
  /** For the TURN server that the page came from. */
  turn: TurnAccess | null;
  /** Servers of others. */
  iceServers: readonly IceServer[];
  /** What is going to happen to the desktop. */
  notice: Pending | null;
}

/** How the session stands, for `describe`. */
export type Stage = "signing-in" | "denied" | "signalling" | "media" | "live" | "ended";

/** One page's session. */
export class Session {
  readonly facts: Facts;
  private socket: Socket = "closed";
  private socketSince = 0;
  private helloAt: number | null = null;
  private attempts = 0;
  private retryAt: number | null = null;
  private loginPending = false;
  /** The gateway did not answer a login: it comes before the next socket. */
  private loginOwed = false;
  private denied = false;
  private hintText = "";
  private byeReason: ByeReason | "left" | null = null;
  private byeText = "";
  private errorText = "";
  private visible: boolean;
  private generation = 0;
  private peer: PeerState | "none" = "none";
  private peerSince = 0;
  private answered = false;
  private peerRetryAt: number | null = null;
  private peerFailures = 0;
  private frameSeen = false;
  private everLive = false;
  private expectingSince: number | null = null;
  private lastMedia = -Infinity;
  private resumedSinceMedia = false;
  private readonly fallback: Fallback;
  private streamOffered = false;
  private owedSince: number | null = null;

  /** `blocked`: WebRTC did not get through on the last visit. */
  constructor(options: { ticket: string | null; visible: boolean; random: () => number; blocked?: boolean }) {
    this.random = options.random;
    this.fallback = new Fallback(options.blocked ?? false);
    this.visible = options.visible;
    this.facts = {
      viewer: null,
      rights: [],
      settings: null,
      screens: [],
      status: null,
      heartbeatMs: 200,
      turn: null,
      iceServers: [],
      notice: null,
      ticket: options.ticket,
    };
  }

  private readonly random: () => number;

  /** Takes one event. */
  handle(event: SessionEvent, now: number): Effect[] {
    const effects = this.dispatch(event, now);
    this.expectation(now);
    return [...effects, ...this.pollStream(now)];
  }

  /** When {@link poll} is due; null: only an event can change anything. */
  deadline(): number | null {
    const times = [
      this.retryAt,
      this.peerRetryAt,
      this.socketDeadline(),
      this.peerDeadline(),
      this.silenceDeadline(),
      this.fallback.deadline(this.situation()),
    ];
    const due = times.filter((t) => t !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  /** Does what is due. */
  poll(now: number): Effect[] {
    const effects: Effect[] = [];
    const due = (at: number | null): boolean => at !== null && now >= at;
    if (due(this.retryAt)) effects.push(...this.openSocket(now));
    if (due(this.socketDeadline())) effects.push({ kind: "closeSocket" }, ...this.socketLost(now));
    if (due(this.peerRetryAt)) effects.push(...this.newPeer(now));
    if (due(this.peerDeadline()) || due(this.silenceDeadline())) effects.push(...this.peerLost(now));
    this.expectation(now);
    return [...effects, ...this.pollStream(now)];
  }

  get stage(): Stage {
    if (this.denied) return "denied";
    if (this.byeReason !== null) return "ended";
    if (this.loginPending) return "signing-in";
    if ((this.showing || this.fallback.flowing) && this.facts.status?.display !== "waiting") return "live";
    return this.socket === "ready" ? "media" : "signalling";
  }

  /** True once a picture was shown: what follows is a re-connection. */
  get wasLive(): boolean {
    return this.everLive;
  }

  /** How to get in, in the words of whoever runs this desktop; empty where nothing was said. */
  get hint(): string {
    return this.hintText;
  }

  get bye(): { reason: ByeReason | "left"; message: string } | null {
    return this.byeReason === null ? null : { reason: this.byeReason, message: this.byeText };
  }

  /** The last error of the gateway that still holds; empty when none does. */
  get error(): string {
    return this.errorText;
  }

  /** Why the WebSocket's video, which is all that is left, cannot be shown; empty if it can. */
  get streamTrouble(): string {
    return this.peer === "connected" ? "" : this.fallback.trouble;
  }

  /** The WebSocket's video was asked for, and has not been ended. */
  get streamWanted(): boolean {
    return this.fallback.on;
  }

  /** The picture comes over the WebSocket. */
  get streaming(): boolean {
    return this.fallback.flowing;
  }

  get signalling(): boolean {
    return this.socket === "ready";
  }

  get peerState(): PeerState | "none" {
    return this.peer;
  }

  get currentGeneration(): number {
    return this.generation;
  }

  /** True where this viewer's keyboard and mouse are followed. */
  get controlling(): boolean {
    const { rights, viewer, status } = this.facts;
    return rights.includes("control") && viewer !== null && status?.controller === viewer;
  }

  private dispatch(event: SessionEvent, now: number): Effect[] {
    switch (event.kind) {
      case "start":
        return this.start(event.token, now);
      case "login":
        this.hintText = event.hint ?? this.hintText;
        return this.loggedIn(event.access, now);
      case "access":
        this.hintText = event.hint ?? this.hintText;
        // An answer that a login or a socket has overtaken says nothing any more.
        return event.access === "denied" && !this.loginPending && this.socket !== "ready" ? this.deny() : [];
      case "socketOpen":
        if (this.socket !== "opening") return [];
        this.socket = "greeting";
        this.socketSince = now;
        return [{ kind: "hello", resume: this.facts.ticket }];
      case "socketClosed":
        return this.socket === "closed" ? [] : this.socketLost(now);
      case "message":
        return this.message(event.message, now);
      case "peer":
        return event.generation === this.generation ? this.peerChanged(event.state, now) : [];
      case "media":
        if (event.generation === this.generation) this.mediaSeen(event.frame, now - event.ago, now);
        return [];
      case "streamFrame":
        return this.streamFrame(now);
      case "streamFailed":
        return this.streamFailed(event.message, event.final, now);
      case "visible":
        return this.visibility(event.visible, now);
      case "retry":
        return this.retry(now);
      case "online":
        return this.retryAt === null ? [] : this.openSocket(now);
      case "leave":
        return this.end("left", "");
    }
  }

  /** Also for a link that is pasted into a page that was refused, has ended, or is live by another link. */
  private start(token: boolean, now: number): Effect[] {
    const before = this.socket === "closed" && this.peer === "none" ? [] : this.closeAll();
    this.denied = false;
    this.byeReason = null;
    this.attempts = 0;
    this.retryAt = null;
    this.loginPending = token;
    this.loginOwed = false;
    return [...before, ...(token ? [{ kind: "login" } as const] : this.openSocket(now))];
  }

  private loggedIn(access: Access, now: number): Effect[] {
    this.loginPending = false;
    if (access === "denied") return this.deny();
    if (access === "ok") return this.openSocket(now);
    this.loginOwed = true;
    this.scheduleSocket(now);
    return [];
  }

  private deny(): Effect[] {
    this.denied = true;
    return this.closeAll();
  }

  private closeAll(): Effect[] {
    this.socket = "closed";
    this.retryAt = null;
    this.peerRetryAt = null;
    this.helloAt = null;
    this.peer = "none";
    this.frameSeen = false;
    this.generation += 1;
    return [...this.streamLost(), { kind: "closeSocket" }, { kind: "closePeer" }];
  }

  private openSocket(now: number): Effect[] {
    this.retryAt = null;
    if (this.loginOwed) {
      this.loginOwed = false;
      this.loginPending = true;
      return [{ kind: "login" }];
    }
    this.socket = "opening";
    this.socketSince = now;
    return [{ kind: "openSocket" }];
  }

  private socketLost(now: number): Effect[] {
    const neverOpened = this.socket === "opening";
    if (this.helloAt !== null && now - this.helloAt >= LIMITS.stable) this.attempts = 0;
    this.socket = "closed";
    this.helloAt = null;
    this.peerRetryAt = null;
    if (!this.denied) this.scheduleSocket(now);
    // A browser does not say why an upgrade failed: a 401 is learnt by an ordinary request.
    return [...this.streamLost(), ...(neverOpened && !this.denied ? [{ kind: "checkAccess" } as const] : [])];
  }

  private scheduleSocket(now: number): void {
    if (!this.visible || !this.mayRetry()) return;
    if (this.byeReason !== null) {
      this.retryAt = now + LIMITS.afterBye;
      return;
    }
    this.retryAt = now + backoff(this.attempts, this.random());
    this.attempts += 1;
  }

  /** A gateway that stopped or is full is looked for again; every other good-bye holds until a person acts. */
  private mayRetry(): boolean {
    return this.byeReason === null || this.byeReason === "shutdown" || this.byeReason === "full";
  }

  private visibility(visible: boolean, now: number): Effect[] {
    this.visible = visible;
    if (!visible) {
      this.retryAt = null;
      return [];
    }
    const waiting = this.socket === "closed" && this.mayRetry() && !this.denied && !this.loginPending;
    return waiting ? this.openSocket(now) : [];
  }

  private retry(now: number): Effect[] {
    if (this.socket !== "closed" || this.loginPending) return [];
    this.denied = false;
    this.byeReason = null;
    this.attempts = 0;
    return this.openSocket(now);
  }

  private message(message: ServerMessage, now: number): Effect[] {
    switch (message.type) {
      case "hello":
        return this.hello(message, now);
      case "answer":
        this.answered = true;
        this.peerSince = now;
        return [];
      case "ticket":
        this.facts.ticket = message.ticket;
        // An older gateway says nothing of them here.
        if (message.turn !== null) Object.assign(this.facts, { turn: message.turn, iceServers: message.iceServers });
        return [];
      case "status":
        this.facts.status = message;
        this.facts.settings = message.settings;
        if (message.display === "waiting") this.frameSeen = false;
        return [];
      case "screens":
        this.facts.screens = message.screens;
        return [];
      case "notice":
        this.facts.notice = message.notice && pending(message.notice, now);
        return [];
      case "error":
        return this.refused(message.code, message.message, now);
      case "bye":
        return this.goodbye(message.reason, message.message, now);
      default:
        return [];
    }
  }

  private hello(hello: ServerHello, now: number): Effect[] {
    if (this.socket !== "greeting") return [];
    if (hello.version !== VERSION) {
      return this.end("protocol", `This page speaks version ${VERSION}, the gateway version ${hello.version}. Reload the page.`);
    }
    const { viewer, rights, settings, screens, ticket, heartbeatMs, turn, iceServers } = hello;
    // A gateway that has a notice says so next.
    Object.assign(this.facts, { viewer, rights, settings, screens, ticket, heartbeatMs, turn, iceServers, notice: null });
    this.byeReason = null;
    this.streamOffered = hello.features.includes(STREAM);
    this.socket = "ready";
    this.helloAt = now;
    this.resumedSinceMedia = true;
    const keep = hello.resumed && (this.peer === "connected" || this.peer === "disconnected");
    return keep ? [] : this.newPeer(now);
  }

  private refused(code: string, text: string, now: number): Effect[] {
    if (code === "noStream") return this.streamFailed(text, false, now);
    if (code === "version") return this.end("protocol", text);
    // One that stands for an older offer, or comes when all is well, must not end a connection.
    if (!(OFFER_REFUSED.includes(code) || code === "noEncoder") || this.peer === "connected") return [];
    this.errorText = text;
    this.peer = "failed";
    this.peerFailures += 2;
    this.peerRetryAt = now + backoff(this.peerFailures, this.random());
    return [];
  }

  private goodbye(reason: ByeReason, text: string, now: number): Effect[] {
    const effects = this.end(reason, text);
    this.scheduleSocket(now);
    return effects;
  }

  private end(reason: ByeReason | "left", text: string): Effect[] {
    this.byeReason = reason;
    this.byeText = text;
    if (!this.mayRetry()) this.facts.ticket = null;
    return this.closeAll();
  }

  private newPeer(now: number): Effect[] {
    this.peerRetryAt = null;
    if (this.socket !== "ready") return [];
    this.generation += 1;
    this.peer = "connecting";
    this.peerSince = now;
    this.answered = false;
    this.frameSeen = false;
    return [{ kind: "newPeer", generation: this.generation }];
  }

  private peerChanged(state: PeerState, now: number): Effect[] {
    if (state === this.peer) return [];
    this.peer = state;
    this.peerSince = now;
    if (state === "connected") {
      this.errorText = "";
      // What was about to be replaced has mended.
      this.peerRetryAt = null;
    }
    return state === "failed" ? this.peerLost(now) : [];
  }

  /**
   * The offer was not answered: that is the socket's fault, unless it brings video. Otherwise a new peer connection,
   * later each time.
   */
  private peerLost(now: number): Effect[] {
    if (this.peer === "connecting" && !this.answered && this.socket === "ready" && !this.fallback.flowing) {
      this.peer = "none";
      this.fallback.hurry();
      return [{ kind: "closeSocket" }, ...this.socketLost(now)];
    }
    const delay = backoff(this.peerFailures, this.random());
    this.peerFailures += 1;
    this.peer = "failed";
    this.frameSeen = false;
    if (this.socket !== "ready") return [];
    if (delay === 0) return this.newPeer(now);
    this.peerRetryAt = now + delay;
    return [];
  }

  private mediaSeen(frame: boolean, at: number, now: number): void {
    this.lastMedia = Math.max(this.lastMedia, Math.min(at, now));
    if (at >= (this.helloAt ?? 0)) this.resumedSinceMedia = false;
    if (!frame) return;
    this.peerFailures = 0;
    if (this.facts.status?.display !== "waiting") this.frameSeen = true;
    this.everLive ||= this.frameSeen;
  }

  private streamFrame(now: number): Effect[] {
    const first = this.fallback.frame(now);
    if (this.fallback.flowing) {
      this.everLive = true;
      this.errorText = "";
    }
    return first ? [{ kind: "remember", blocked: true }] : [];
  }

  private streamFailed(why: string, final: boolean, now: number): Effect[] {
    if (!this.fallback.on) return [];
    this.fallback.failed(why, final, now);
    return [{ kind: "closeStream", replaced: false }];
  }

  private streamLost(): Effect[] {
    const on = this.fallback.on;
    this.fallback.lost();
    if (!on) return [];
    return [{ kind: "closeStream", replaced: false }];
  }

  private pollStream(now: number): Effect[] {
    switch (this.fallback.poll(this.situation(), now)) {
      case "begin":
      case "begin again":
        return [{ kind: "openStream", attempt: this.fallback.attempt }];
      case "end":
        return [{ kind: "closeStream", replaced: true }, { kind: "remember", blocked: false }];
      case null:
        return [];
    }
  }

  /** WebRTC shows a picture. */
  private get showing(): boolean {
    return this.peer === "connected" && this.frameSeen;
  }

  private situation(): Situation {
    const { peer, peerSince, answered, showing, owedSince } = this;
    const offeredSince = this.socket === "ready" && this.streamOffered ? this.helloAt : null;
    return { offeredSince, showing, peer, peerSince, answered, owedSince };
  }

  private expectation(now: number): void {
    const owed = this.visible && this.socket === "ready" && this.facts.status?.display !== "waiting";
    this.owedSince = owed ? (this.owedSince ?? now) : null;
    const expected = this.visible && this.peer === "connected" && this.facts.status?.display !== "waiting";
    if (!expected) this.expectingSince = null;
    else this.expectingSince ??= now;
  }

  private socketDeadline(): number | null {
    return this.socket === "opening" || this.socket === "greeting" ? this.socketSince + LIMITS.answer : null;
  }

  private peerDeadline(): number | null {
    if (this.peer === "connecting") return this.peerSince + (this.answered ? LIMITS.connect : LIMITS.answer);
    return this.peer === "disconnected" && this.socket === "ready" ? this.peerSince + LIMITS.disconnected : null;
  }

  private silenceDeadline(): number | null {
    if (this.expectingSince === null || this.socket !== "ready") return null;
    const limit = this.resumedSinceMedia ? LIMITS.silentAfterResume : LIMITS.silent;
    const patience = this.frameSeen ? limit : LIMITS.firstFrame;
    return Math.max(this.expectingSince, this.lastMedia) + patience;
  }
}
