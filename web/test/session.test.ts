import { beforeEach, describe, expect, it } from "vitest";
import { backoff } from "../src/session/backoff";
import { describe as viewOf, spans } from "../src/session/describe";
import { FALLBACK } from "../src/session/fallback";
import { LIMITS, Session, type Effect, type SessionEvent } from "../src/session/machine";
import { STREAM, type ServerHello, type ServerMessage, type Status } from "../src/wire/signal";

const hello = (change: Partial<ServerHello> = {}): ServerMessage => ({
  type: "hello",
  version: 1,
  features: [],
  viewer: 7,
  rights: ["view", "control"],
  settings: { bitrateKbps: 8_000, fps: 60 },
  screens: [{ x: 0, y: 0, width: 1280, height: 720 }],
  ticket: "t1",
  resumed: false,
  heartbeatMs: 200,
  turn: null,
  iceServers: [],
  ...change,
});

const status = (change: Partial<Status> = {}): ServerMessage => ({
  type: "status",
  display: "live",
  message: "",
  codec: "H264",
  tier: "main",
  encoder: "x264",
  fallback: null,
  path: "udp",
  canResize: true,
  viewers: [],
  controller: 7,
  settings: { bitrateKbps: 8_000, fps: 60 },
  ...change,
});

/** A session on a clock of its own. */
class Rig {
  now = 0;
  readonly done: string[] = [];
  /** Numbers of the streams that were opened. */
  readonly attempts: number[] = [];
  readonly session: Session;

  constructor(visible = true, ticket: string | null = null) {
    this.session = new Session({ ticket, visible, random: () => 0 });
  }

  feed(event: SessionEvent): this {
    this.note(this.session.handle(event, this.now));
    return this;
  }

  say(message: ServerMessage): this {
    return this.feed({ kind: "message", message });
  }

  /** Lets time pass, doing what falls due. */
  pass(ms: number): this {
    const end = this.now + ms;
    for (let guard = 0; guard < 10_000; guard += 1) {
      const due = this.session.deadline();
      if (due === null || due > end) break;
      this.now = Math.max(this.now, due);
      this.note(this.session.poll(this.now));
    }
    this.now = end;
    return this;
  }

  peer(state: "connected" | "disconnected" | "failed"): this {
    return this.feed({ kind: "peer", generation: this.session.currentGeneration, state });
  }

  frame(): this {
    return this.feed({ kind: "media", generation: this.session.currentGeneration, frame: true, ago: 0 });
  }

  /** Frames every second, as on a still screen. */
  still(ms: number): this {
    for (let t = 0; t < ms; t += 1_000) this.frame().pass(1_000);
    return this;
  }

  greet(change: Partial<ServerHello> = {}): this {
    return this.feed({ kind: "socketOpen" }).say(hello(change)).say(status());
  }

  live(): this {
    return this.feed({ kind: "start", token: false }).greet().say({ type: "answer", sdp: "" }).peer("connected").frame();
  }

  take(): string[] {
    return this.done.splice(0);
  }

  get kind(): string {
    return viewOf(this.session).kind;
  }

  private note(effects: readonly Effect[]): void {
    for (const effect of effects) {
      this.done.push(effect.kind === "hello" ? `hello ${effect.resume ?? "-"}` : effect.kind);
      if (effect.kind === "openStream") this.attempts.push(effect.attempt);
    }
  }
}

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});

describe("first connection", () => {
  it("goes from nothing to live", () => {
    rig.feed({ kind: "start", token: false });
    expect(rig.kind).toBe("connecting");
    rig.greet();
    expect(rig.take()).toEqual(["openSocket", "hello -", "newPeer"]);
    rig.say({ type: "answer", sdp: "" }).peer("connected");
    expect(rig.kind).toBe("connecting");
    rig.frame();
    expect(rig.kind).toBe("live");
    expect(rig.session.controlling).toBe(true);
  });

  it("signs in first when there is a token", () => {
    rig.feed({ kind: "start", token: true });
    expect(rig.take()).toEqual(["login"]);
    rig.feed({ kind: "login", access: "ok" });
    expect(rig.take()).toEqual(["openSocket"]);
  });

  it("keeps its token for a gateway that does not answer yet", () => {
    rig.feed({ kind: "start", token: true }).feed({ kind: "login", access: "unreachable" });
    expect(rig.take()).toEqual(["login"]);
    rig.pass(10_000);
    expect(rig.take()).toEqual(["login"]);
    rig.feed({ kind: "login", access: "unreachable" }).pass(30_000).feed({ kind: "login", access: "ok" });
    expect(rig.take()).toEqual(["login", "openSocket"]);
  });

  it("says how to get in when it may not", () => {
    rig.feed({ kind: "start", token: true }).feed({ kind: "login", access: "denied" });
    expect(rig.kind).toBe("login");
    expect(rig.session.deadline()).toBeNull();
    const other = new Rig().feed({ kind: "start", token: false }).feed({ kind: "socketClosed" });
    expect(other.take()).toEqual(["openSocket", "checkAccess"]);
    other.feed({ kind: "access", access: "denied" });
    expect(other.kind).toBe("login");
    expect(other.session.deadline()).toBeNull();
    other.take();
    other.feed({ kind: "retry" });
    expect(other.take()).toEqual(["openSocket"]);
  });

  it("says it in the words of whoever runs the desktop", () => {
    const hint = "Run `kubectl vdi open alice`";
    rig.feed({ kind: "start", token: false }).feed({ kind: "socketClosed" }).feed({ kind: "access", access: "denied", hint });
    expect(viewOf(rig.session)).toMatchObject({ kind: "login", hint });
    expect(viewOf(new Rig().feed({ kind: "start", token: true }).feed({ kind: "login", access: "denied", hint }).session).hint).toBe(hint);
    rig.feed({ kind: "start", token: true }).feed({ kind: "login", access: "ok", hint: "" });
    expect(viewOf(rig.session).hint).toBe("");
  });

  it.each([
    ["Ask at the front desk", ["Ask at the front desk"]],
    ["Run `a b` and `c`", ["Run", "<a b>", "and", "<c>"]],
    ["`a b`", ["<a b>"]],
    ["", []],
    ["one ` too many", ["one ` too many"]],
    ["<b>`<i>`", ["<b>", "<<i>>"]],
  ])("tells commands from words: %s", (text, wanted) => {
    expect(spans(text).map((span) => (span.code ? `<${span.text}>` : span.text))).toEqual(wanted);
  });

  it("takes a link that is pasted after a refusal, or into a live page", () => {
    rig.feed({ kind: "start", token: false }).feed({ kind: "socketClosed" }).feed({ kind: "access", access: "denied" });
    rig.take();
    rig.feed({ kind: "start", token: true });
    expect(rig.take()).toEqual(["login"]);
    // The first link's refusal comes late.
    rig.feed({ kind: "access", access: "denied" }).feed({ kind: "login", access: "ok" });
    expect(rig.take()).toEqual(["openSocket"]);
    rig.greet().say({ type: "answer", sdp: "" }).peer("connected").frame();
    expect(rig.kind).toBe("live");
    rig.take();
    rig.feed({ kind: "start", token: true });
    expect(rig.take()).toEqual(["closeSocket", "closePeer", "login"]);
  });

  it("keeps knocking, more and more slowly, for ever while somebody looks", () => {
    rig.feed({ kind: "start", token: false });
    const times: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      rig.feed({ kind: "socketClosed" });
      const from = rig.now;
      rig.pass((rig.session.deadline() ?? NaN) - rig.now);
      times.push(rig.now - from);
    }
    expect(times).toEqual([0, 300, 1_200, 2_700, 4_800, 7_000, 7_000, 7_000]);
    rig.feed({ kind: "socketClosed" }).feed({ kind: "visible", visible: false });
    expect(rig.session.deadline()).toBeNull();
    rig.take();
    rig.feed({ kind: "visible", visible: true });
    expect(rig.take()).toEqual(["openSocket"]);
  });

  it("gives up on a socket that does not open or greet", () => {
    rig.feed({ kind: "start", token: false }).pass(LIMITS.answer);
    expect(rig.take()).toEqual(["openSocket", "closeSocket", "checkAccess", "openSocket"]);
    rig.feed({ kind: "socketOpen" }).pass(LIMITS.answer);
    expect(rig.take().slice(0, 2)).toEqual(["hello -", "closeSocket"]);
  });

  it("refuses another version in words", () => {
    rig.feed({ kind: "start", token: false }).feed({ kind: "socketOpen" }).say(hello({ version: 2 }));
    expect(viewOf(rig.session).detail).toContain("version 2");
    expect(rig.kind).toBe("ended");
  });
});

describe("waiting for the desktop", () => {
  it("says what is waited for, and does not call silence a fault", () => {
    rig.feed({ kind: "start", token: false }).feed({ kind: "socketOpen" }).say(hello());
    rig.say(status({ display: "waiting", message: "no X server on :1" })).say({ type: "answer", sdp: "" }).peer("connected");
    expect(viewOf(rig.session)).toMatchObject({ kind: "waiting", detail: "no X server on :1" });
    rig.take();
    rig.pass(60_000);
    expect(rig.take()).toEqual([]);
    rig.say(status()).frame();
    expect(rig.kind).toBe("live");
  });

  it("shows it again when the desktop goes away, until a fresh frame", () => {
    rig.live().say(status({ display: "waiting", message: "the X server went away" }));
    expect(rig.kind).toBe("waiting");
    rig.pass(5_000).say(status());
    expect(rig.kind).toBe("reconnecting");
    rig.take();
    rig.pass(3_000).frame();
    expect(rig.kind).toBe("live");
    expect(rig.take()).toEqual([]);
  });
});

describe("a lost socket", () => {
  it("does not tear down media that goes on", () => {
    rig.live().still(4_000);
    rig.take();
    rig.feed({ kind: "socketClosed" }).pass(0);
    expect(rig.take()).toEqual(["openSocket"]);
    expect(rig.kind).toBe("live");
    expect(rig.session.signalling).toBe(false);
    rig.greet({ resumed: true, ticket: "t2" });
    expect(rig.take()).toEqual(["hello t1"]);
    expect(rig.session.facts.ticket).toBe("t2");
    rig.still(10_000);
    expect(rig.take()).toEqual([]);
  });

  it("makes a new peer connection when the gateway does not know the old one", () => {
    rig.live().still(4_000).feed({ kind: "socketClosed" }).pass(0);
    rig.take();
    rig.greet({ resumed: false });
    expect(rig.take()).toEqual(["hello t1", "newPeer"]);
    expect(rig.kind).toBe("reconnecting");
  });

  it("does so too when it claims to, but no frame comes", () => {
    rig.live().still(4_000).feed({ kind: "socketClosed" }).pass(300).greet({ resumed: true });
    rig.take();
    rig.pass(LIMITS.silentAfterResume);
    expect(rig.take()).toEqual(["newPeer"]);
  });

  it("backs off from a gateway that greets and hangs up", () => {
    rig.live();
    const opened: number[] = [];
    for (let i = 0; i < 5; i += 1) {
      rig.feed({ kind: "socketClosed" });
      opened.push((rig.session.deadline() ?? NaN) - rig.now);
      rig.pass(opened.at(-1) ?? 0).greet({ resumed: true });
    }
    expect(opened).toEqual([0, 300, 1_200, 2_700, 4_800].slice(0, opened.length));
  });

  it("tries at once when the network comes back, but does not revive a session that was taken over", () => {
    rig.live();
    for (let i = 0; i < 4; i += 1) rig.feed({ kind: "socketClosed" }).pass(i === 3 ? 0 : 5_000);
    rig.take();
    rig.feed({ kind: "online" });
    expect(rig.take()).toEqual(["openSocket"]);
    const taken = new Rig().live().say({ type: "bye", reason: "replaced", message: "" });
    taken.take();
    taken.feed({ kind: "online" }).feed({ kind: "visible", visible: false }).feed({ kind: "visible", visible: true }).pass(60_000);
    expect(taken.take()).toEqual([]);
    expect(taken.kind).toBe("ended");
  });
});

describe("lost media", () => {
  it("waits three seconds for a disconnected path to heal", () => {
    rig.live().peer("disconnected");
    rig.take();
    rig.pass(LIMITS.disconnected - 1).peer("connected").frame().still(3_000);
    expect(rig.take()).toEqual([]);
    rig.peer("disconnected").pass(LIMITS.disconnected);
    expect(rig.take()).toEqual(["newPeer"]);
  });

  it("replaces a failed one at once, then more slowly", () => {
    rig.live();
    rig.take();
    rig.peer("failed");
    expect(rig.take()).toEqual(["newPeer"]);
    rig.say({ type: "answer", sdp: "" }).peer("failed");
    expect(rig.take()).toEqual([]);
    rig.pass(300);
    expect(rig.take()).toEqual(["newPeer"]);
  });

  it("notices silence although the connection seems fine", () => {
    rig.live().still(5_000);
    rig.take();
    rig.pass(LIMITS.silent);
    expect(rig.take()).toEqual(["newPeer"]);
    expect(rig.kind).toBe("reconnecting");
  });

  it("takes packets for life while frames are missing", () => {
    rig.live();
    rig.take();
    for (let i = 0; i < 10; i += 1) {
      rig.pass(1_000).feed({ kind: "media", generation: rig.session.currentGeneration, frame: false, ago: 100 });
    }
    expect(rig.take()).toEqual([]);
  });

  it("expects nothing while hidden, and gives it time when shown", () => {
    rig.live().feed({ kind: "visible", visible: false });
    rig.take();
    rig.pass(600_000).feed({ kind: "visible", visible: true }).pass(1_000).frame();
    expect(rig.take()).toEqual([]);
  });

  it("blames the socket when an offer is not answered", () => {
    rig.feed({ kind: "start", token: false }).greet();
    rig.take();
    rig.pass(LIMITS.answer);
    expect(rig.take()).toEqual(["closeSocket", "openSocket"]);
  });

  it("has video on the WebSocket while an offer is not answered, and then leaves the socket alone", () => {
    rig.feed({ kind: "start", token: false }).greet({ features: [STREAM] });
    rig.take();
    rig.pass(FALLBACK.unanswered).feed({ kind: "streamFrame" });
    expect(rig.take()).toEqual(["openStream", "remember"]);
    rig.pass(1_500).feed({ kind: "streamFrame" }).pass(1_500);
    expect(rig.take()).toEqual(["newPeer"]);
    expect(rig.kind).toBe("live");
  });

  it("blames a socket that brings neither answer nor video, and wants video on the next at once", () => {
    rig.feed({ kind: "start", token: false }).greet({ features: [STREAM] });
    rig.take();
    rig.pass(LIMITS.answer);
    expect(rig.take()).toEqual(["openStream", "closeSocket", "closeStream", "openSocket"]);
    rig.greet({ features: [STREAM] });
    expect(rig.take()).toEqual(["hello t1", "newPeer", "openStream"]);
  });

  it("has video on the WebSocket where there is no WebRTC", () => {
    rig.feed({ kind: "start", token: false }).greet({ features: [STREAM] });
    rig.take();
    rig.peer("failed").peer("failed");
    expect(rig.take()).toEqual(["newPeer", "openStream"]);
  });

  it("ignores events of connections that are gone", () => {
    rig.live();
    const { currentGeneration: old } = rig.session;
    rig.peer("failed");
    rig.feed({ kind: "peer", generation: old, state: "connected" });
    rig.feed({ kind: "media", generation: old, frame: true, ago: 0 });
    expect(rig.session.peerState).toBe("connecting");
    expect(rig.kind).toBe("reconnecting");
  });

  it("shows why there is no codec, and tries again slowly", () => {
    rig.feed({ kind: "start", token: false }).greet().say({ type: "error", code: "noCodec", message: "No codec in common." });
    expect(viewOf(rig.session).detail).toBe("No codec in common.");
    rig.take();
    rig.pass(1_200);
    expect(rig.take()).toEqual(["newPeer"]);
  });
});

describe("refusals and WebRTC", () => {
  const slow = (): Rig => {
    rig.feed({ kind: "start", token: false }).greet({ features: [STREAM] }).say({ type: "answer", sdp: "" });
    rig.pass(FALLBACK.answered);
    expect(rig.take().at(-1)).toBe("openStream");
    return rig;
  };

  it("a refused stream ends the stream, not the connection that is under way", () => {
    slow().say({ type: "error", code: "noStream", message: "this browser decodes none" });
    expect(rig.take()).toEqual(["closeStream"]);
    expect([rig.session.peerState, rig.session.streamTrouble]).toEqual(["connecting", "this browser decodes none"]);
    rig.peer("connected").frame().still(20_000);
    expect(rig.take().filter((effect) => effect === "newPeer")).toEqual([]);
    expect(rig.kind).toBe("live");
  });

  it("a player that fails is followed by the next, while WebRTC is not there", () => {
    slow().feed({ kind: "streamFailed", message: "decoder error", final: false });
    expect(rig.take()).toEqual(["closeStream"]);
    rig.pass(FALLBACK.retry);
    expect(rig.take()).toEqual(["openStream"]);
    expect(rig.attempts).toEqual([0, 1]);
  });

  it("a connection that mends before it is replaced stays", () => {
    rig.live().take();
    rig.peer("failed").peer("failed").take();
    rig.peer("connected").frame().still(20_000);
    expect(rig.take()).toEqual([]);
    expect(rig.session.peerState).toBe("connected");
  });

  it("a refused offer, then a connection: no second one", () => {
    rig.feed({ kind: "start", token: false }).greet().say({ type: "error", code: "badOffer", message: "no" });
    rig.peer("connected").take();
    rig.frame().still(20_000);
    expect(rig.take()).toEqual([]);
  });

  it("an error that comes late leaves a working connection alone", () => {
    rig.live().take();
    rig.say({ type: "error", code: "noCodec", message: "no" }).still(20_000);
    expect([rig.take(), rig.session.error, rig.kind]).toEqual([[], "", "live"]);
  });
});

describe("good-byes", () => {
  it("comes back by itself after a shutdown", () => {
    rig.live().say({ type: "bye", reason: "shutdown", message: "The gateway stops." });
    expect(viewOf(rig.session)).toMatchObject({ kind: "ended", busy: true });
    expect(viewOf(rig.session).detail).toContain("The gateway stops.");
    rig.take();
    rig.pass(LIMITS.afterBye);
    rig.feed({ kind: "socketClosed" });
    expect(rig.kind).toBe("ended");
    rig.pass(LIMITS.afterBye).greet({ resumed: true });
    expect(rig.take()).toEqual(["openSocket", "checkAccess", "openSocket", "hello t1", "newPeer"]);
    expect(rig.kind).toBe("reconnecting");
  });

  it("ends for good when the person leaves, until they press the button", () => {
    rig.live().feed({ kind: "leave" });
    expect(rig.kind).toBe("ended");
    rig.take();
    rig.pass(100_000);
    expect(rig.take()).toEqual([]);
    rig.feed({ kind: "retry" }).feed({ kind: "socketOpen" });
    expect(rig.take()).toEqual(["openSocket", "hello -"]);
  });
});

describe("what is going to happen", () => {
  const notice = (leftMs: number): ServerMessage => ({
    type: "notice",
    notice: { action: "suspend", at: 1_801_396_800, leftMs, reason: "timeout", homeStays: true },
  });

  it("is told by the page's own clock until it is withdrawn", () => {
    rig.pass(5_000).live().say(notice(300_000));
    expect(rig.session.facts.notice).toMatchObject({ action: "suspend", until: 305_000 });
    rig.say({ type: "notice", notice: null });
    expect(rig.session.facts.notice).toBeNull();
  });

  it("is forgotten with the gateway that said it, unless the next one says it too", () => {
    rig.live().say(notice(300_000)).feed({ kind: "socketClosed" }).pass(10_000).greet();
    expect(rig.session.facts.notice).toBeNull();
    rig.say(notice(290_000));
    expect(rig.session.facts.notice).not.toBeNull();
  });
});

it("spreads its attempts", () => {
  expect(backoff(3, 1)).toBe(3_375);
  expect(backoff(99, 0.5)).toBe(7_875);
});
