// Carries out what the session's state machine decides: fetch, WebSocket, peer connection, timers.

import type { Lane } from "../input/outbox";
import { tcpCandidates, withServers } from "../media/paths";
import { Peer, type PeerHooks } from "../media/peer";
import { figures, type Figures, type Snapshot } from "../media/stats";
import { parseServerMessage, SUBPROTOCOL, VERSION, type ClientMessage, type ServerMessage, type Viewport } from "../wire/signal";
import { Link, type StreamReport } from "../stream/link";
import { abilities, Stream } from "../stream/stream";
import { checkAccess, login, rememberBlocked, wasBlocked } from "./access";
import { LIMITS, OFFER_REFUSED, Session, type Effect, type SessionEvent } from "./machine";
import { Timer } from "./timer";

/** How often the counters are read, milliseconds. */
const STATS_EVERY = 2_000;
const STATS_TICK = 500;
/** The session hears of the stream's frames at most this often, milliseconds. */
const FRAME_REPORT = 200;
const NO_STREAM =
  "The network lets no WebRTC through, and without HTTPS this browser shows video by nothing else. Open this page by https://, or open its port for UDP or plain TCP.";
/** Without a frame for this long, packets are looked for. */
const FRAME_GAP = 1_200;

/** What the driver needs of the page, and tells it. */
export interface DriverHooks {
  viewport(): Viewport;
  /** Something that is shown may have changed. */
  changed(): void;
  /** The peer connection is about to be closed; its last picture is still there. */
  peerEnds(): void;
  /** Every message of the gateway, after the session has seen it. */
  message(message: ServerMessage): void;
  video(track: MediaStreamTrack, generation: number, flowing: boolean): void;
  audio(track: MediaStreamTrack): void;
  /** The WebSocket's video shows here from its first frame on; null: it has ended. */
  stream(element: HTMLCanvasElement | HTMLVideoElement | null, replaced: boolean): void;
  /** A frame of it is on the screen. */
  streamFrame(): void;
  resized(): void;
  stats(figures: Figures): void;
  lastFrameAt(): number;
}

/** Runs one session. */
export class Driver {
  readonly session: Session;
  /** Read the counters as often as they are shown. */
  watched = false;
  private readonly link = new Link({
    opened: () => this.feed({ kind: "socketOpen" }),
    closed: () => this.feed({ kind: "socketClosed" }),
    text: (json) => this.receive(json),
    stream: (report) => this.streamed(report),
  });
  private peer: Peer | null = null;
  private stream: Stream | null = null;
  private streamFrameAt = -Infinity;
  private readonly abilities = abilities();
  private pendingOffers = 0;
  private offeredAt = -Infinity;
  private token: string | null = null;
  private readonly timer: Timer;
  private last: { generation: number; snapshot: Snapshot } | null = null;
  private lastPoll = 0;

  constructor(
    ticket: string | null,
    private readonly hooks: DriverHooks,
  ) {
    const visible = document.visibilityState === "visible";
    this.session = new Session({ ticket, visible, random: () => Math.random(), blocked: wasBlocked() });
    this.timer = new Timer(
      () => this.session.deadline(),
      (now) => this.run(this.session.poll(now)),
    );
    window.setInterval(() => void this.pollStats(), STATS_TICK);
  }

  /** Begins, with the token of the address bar if there is one. */
  start(token: string | null): void {
    this.token = token;
    this.feed({ kind: "start", token: token !== null });
  }

  /** Gives one event to the session and does what it asks for. */
  feed(event: SessionEvent): void {
    this.run(this.session.handle(event, performance.now()));
    this.timer.arm();
  }

  /** Says something to the gateway by whichever way is open; false if none is. */
  say(message: ClientMessage): boolean {
    if (this.session.signalling && this.link.send(JSON.stringify(message))) return true;
    return this.peer?.say(message) ?? false;
  }

  /** The ways for input frames. */
  readonly lanes: { control: Lane; motion: Lane; socket: Lane } = {
    control: { send: (bytes) => this.reached && (this.peer?.control.send(bytes) ?? false) },
    motion: { send: (bytes) => this.reached && (this.peer?.motion.send(bytes) ?? false) },
    socket: { send: (bytes) => this.session.signalling && this.link.send(bytes) },
  };

  /** The channels of a connection that was lost still take what they are given; it is the socket that gets through. */
  private get reached(): boolean {
    return this.session.peerState === "connected" || !this.session.signalling;
  }

  /** Leaves on purpose. */
  leave(): void {
    this.say({ type: "bye" });
    this.feed({ kind: "leave" });
  }

  /** The page goes away: the gateway learns it at once, and may see it again with its ticket. */
  unload(): void {
    this.peer?.close();
  }

  private run(effects: readonly Effect[]): void {
    for (const effect of effects) this.perform(effect);
    this.hooks.changed();
  }

  private perform(effect: Effect): void {
    switch (effect.kind) {
      case "login":
        void login(this.token ?? "").then((answer) => {
          if (answer.access !== "unreachable") this.token = null;
          this.feed({ kind: "login", ...answer });
        });
        return;
      case "checkAccess":
        void checkAccess().then((answer) => this.feed({ kind: "access", ...answer }));
        return;
      case "openSocket":
        this.openSocket();
        return;
      case "closeSocket":
        this.link.close();
        return;
      case "hello":
        this.hello(effect.resume);
        return;
      case "newPeer":
        this.newPeer(effect.generation);
        return;
      case "closePeer":
        this.closePeer();
        return;
      case "openStream":
        void this.openStream(effect.attempt);
        return;
      case "closeStream":
        this.closeStream(effect.replaced);
        return;
      case "remember":
        rememberBlocked(effect.blocked);
        return;
    }
  }

  private openSocket(): void {
    const url = new URL("ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = "";
    this.pendingOffers = 0;
    this.link.open(url, SUBPROTOCOL);
  }

  private streamed(report: StreamReport): void {
    if (this.stream !== null) this.stream.receive(report);
    else if (report.kind === "picture") report.picture.close();
  }

  private hello(resume: string | null): void {
    const hello: ClientMessage = {
      type: "hello",
      version: VERSION,
      features: [],
      visible: document.visibilityState === "visible",
      ...this.hooks.viewport(),
    };
    if (resume !== null) hello.resume = resume;
    this.link.send(JSON.stringify(hello));
  }

  private receive(json: string): void {
    const parsed = parseServerMessage(json);
    if (!parsed.ok) return;
    const { message } = parsed;
    if (message.type === "answer") {
      // Answers carry no number: only the last one belongs to the present offer.
      this.pendingOffers = Math.max(0, this.pendingOffers - 1);
      if (this.pendingOffers > 0) return;
      this.accept(message.sdp);
    }
    if (message.type === "roundTrip") this.stream?.roundTrip(message.ms);
    if (message.type === "error" && OFFER_REFUSED.includes(message.code)) this.pendingOffers = Math.max(0, this.pendingOffers - 1);
    this.feed({ kind: "message", message });
    this.hooks.message(message);
  }

  private expectAnswer(): void {
    const now = performance.now();
    // One that was not answered in its time is not waited for: this one's answer would be taken for its.
    if (now - this.offeredAt >= LIMITS.answer) this.pendingOffers = 0;
    this.offeredAt = now;
    this.pendingOffers += 1;
  }

  private accept(sdp: string): void {
    const generation = this.session.currentGeneration;
    this.peer?.accept(sdp, tcpCandidates(location)).catch(() => this.feed({ kind: "peer", generation, state: "failed" }));
  }

  private async openStream(attempt: number): Promise<void> {
    this.closeStream(false);
    const abilities = await this.abilities;
    // Much may have happened since.
    if (!this.session.streamWanted || this.stream !== null) return;
    const ability = abilities[attempt % abilities.length];
    if (ability === undefined) {
      this.feed({ kind: "streamFailed", message: NO_STREAM, final: true });
      return;
    }
    const stream = new Stream(ability, {
      say: (message) => this.say(message),
      decode: (on) => this.link.decode(on),
      drawn: () => this.link.drawn(),
      shown: () => this.streamShown(),
      failed: (message) => this.feed({ kind: "streamFailed", message, final: false }),
      resized: () => this.hooks.resized(),
    });
    this.stream = stream;
    this.hooks.stream(stream.element, false);
  }

  private closeStream(replaced: boolean): void {
    if (!this.stream) return;
    this.hooks.stream(null, replaced);
    this.stream.close();
    this.stream = null;
  }

  private streamShown(): void {
    this.hooks.streamFrame();
    const now = performance.now();
    if (this.session.streaming && now - this.streamFrameAt < FRAME_REPORT) return;
    this.streamFrameAt = now;
    this.feed({ kind: "streamFrame" });
  }

  private closePeer(): void {
    if (!this.peer) return;
    this.hooks.peerEnds();
    this.peer.close();
    this.peer = null;
  }

  private newPeer(generation: number): void {
    this.closePeer();
    const hooks: PeerHooks = {
      signal: (message) => {
        if (!this.link.isOpen) return;
        if (message.type === "offer") this.expectAnswer();
        this.link.send(JSON.stringify(message));
      },
      state: (state) => this.feed({ kind: "peer", generation, state }),
      video: (track, flowing) => this.hooks.video(track, generation, flowing),
      audio: (track) => this.hooks.audio(track),
      text: (json) => this.receive(json),
    };
    const { turn, iceServers } = this.session.facts;
    this.peer = withServers((servers) => new Peer(hooks, servers), turn, iceServers, location);
    const offered = this.peer?.offer() ?? Promise.reject(new Error("no WebRTC in this browser"));
    offered.catch(() => this.feed({ kind: "peer", generation, state: "failed" }));
  }

  private async pollStats(): Promise<void> {
    const now = performance.now();
    if (this.stream !== null && now - this.lastPoll >= STATS_EVERY) {
      this.lastPoll = now;
      this.hooks.stats(this.stream.figures());
    }
    if (document.visibilityState !== "visible" || this.session.peerState !== "connected" || !this.peer) return;
    const silent = now - this.hooks.lastFrameAt() > FRAME_GAP;
    if (!silent && now - this.lastPoll < (this.watched ? STATS_EVERY / 2 : STATS_EVERY)) return;
    this.lastPoll = now;
    const generation = this.session.currentGeneration;
    const snapshot = await this.peer.stats().catch(() => null);
    if (snapshot === null || generation !== this.session.currentGeneration) return;
    const before = this.last?.generation === generation ? this.last.snapshot : null;
    this.last = { generation, snapshot };
    if (snapshot.packets > (before?.packets ?? 0)) {
      this.feed({ kind: "media", generation, frame: false, ago: snapshot.packetAge });
    }
    if (before) this.hooks.stats(figures(before, snapshot));
  }
}
