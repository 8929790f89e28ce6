// PURE. JSON messages of the subprotocol `deskgate.v1`; mirrors src/wire/signal.rs, held together by tests/golden/wire.

import { flag, known, list, Malformed, number, or, shape, text, u16, u32, word, type Check } from "./check";

/** Feature of a gateway that sends video over the WebSocket. */
export const STREAM = "stream";
/** WebSocket subprotocol name. */
export const SUBPROTOCOL = "deskgate.v1";
/** Version that this page speaks. */
export const VERSION = 1;
/** Largest JSON message that is read, in characters. */
export const MAX_JSON = 1024 * 1024;
/** Data channel ids, negotiated out of band. */
export const CONTROL_CHANNEL = 0;
export const MOTION_CHANNEL = 1;

/** Size in CSS pixels. */
export interface CssSize {
  width: number;
  height: number;
}

/** What to do when window and screen differ in size. */
export type Fit = "resize" | "scale";
/** One thing that a viewer may do. */
export type Right = "view" | "control";
export type ControlAction = "request" | "take" | "grant" | "release";
export type DisplayState = "waiting" | "live";
export type NoticeAction = "suspend" | "delete";
export type ByeReason = "shutdown" | "replaced" | "revoked" | "full" | "protocol";

/** A rectangle of the desktop, in its pixels. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Settings {
  bitrateKbps: number;
  fps: number;
}

/** When frames arrive against this display; milliseconds. */
export interface Feedback {
  intervalMs: number;
  slackMs: number;
  jitterMs: number;
  frames: number;
  decodeMs: number;
  rttMs: number;
}

export interface ViewerStatus {
  viewer: number;
  rights: Right[];
  visible: boolean;
}

export interface Status {
  display: DisplayState;
  message: string;
  codec: string | null;
  /** "low": fewer bits than others get, for what the way here carries. */
  tier: "main" | "low";
  encoder: string | null;
  fallback: string | null;
  path: string | null;
  canResize: boolean;
  viewers: ViewerStatus[];
  controller: number | null;
  settings: Settings;
}

/** Something is going to happen to the desktop. */
export interface Notice {
  action: NoticeAction;
  /** When, in seconds since the Unix epoch: says which notice this is. The clock of this machine may be wrong. */
  at: number;
  leftMs: number;
  reason: string | null;
  /** Null: nobody knows. */
  homeStays: boolean | null;
}

export interface Viewport {
  css: CssSize;
  devicePixelRatio: number;
  fit: Fit;
}

/** What the page says to the gateway. */
export type ClientMessage =
  | ({ type: "hello"; version: number; features: string[]; visible: boolean; resume?: string; rights?: Right[] } & Viewport)
  | { type: "offer"; sdp: string }
  | { type: "candidate"; candidate?: string; sdpMid?: string; sdpMLineIndex?: number }
  | { type: "visibility"; visible: boolean }
  | { type: "stream"; codecs: string[] }
  | { type: "keyframe" }
  | ({ type: "viewport" } & Viewport)
  | ({ type: "settings" } & Partial<Settings>)
  | { type: "control"; action: ControlAction; viewer?: number }
  | ({ type: "feedback" } & Feedback)
  | { type: "bye" };

export interface ServerHello {
  type: "hello";
  version: number;
  features: string[];
  viewer: number;
  rights: Right[];
  settings: Settings;
  screens: Rect[];
  ticket: string;
  resumed: boolean;
  heartbeatMs: number;
  /** For the TURN server on the port that this page came from. */
  turn: TurnAccess | null;
  /** More STUN and TURN servers. */
  iceServers: IceServer[];
}

export interface IceServer {
  urls: string[];
  username: string | null;
  credential: string | null;
}

export interface TurnAccess {
  username: string;
  credential: string;
  /** TLS on this port ends in the gateway: TURNS works too. */
  tls: boolean;
}

export interface CursorMessage {
  type: "cursor";
  png: string | null;
  hotX: number;
  hotY: number;
  width: number;
  height: number;
}

/** What the gateway says to the page. */
export type ServerMessage =
  | ServerHello
  | { type: "answer"; sdp: string }
  | { type: "ticket"; ticket: string; turn: TurnAccess | null; iceServers: IceServer[] }
  | { type: "roundTrip"; ms: number }
  | ({ type: "status" } & Status)
  | { type: "notice"; notice: Notice | null }
  | { type: "screens"; screens: Rect[] }
  | CursorMessage
  | { type: "pointer"; x: number; y: number }
  | { type: "locks"; caps: boolean; num: boolean }
  | { type: "controlRequest"; viewer: number }
  | { type: "error"; code: string; message: string }
  | { type: "bye"; reason: ByeReason; message: string };

const rights = known("view", "control");
const settings = shape<Settings>({ bitrateKbps: u32, fps: u32 });
const screen = shape<Rect>({ x: u16, y: u16, width: u16, height: u16 });
const screens = list(screen, 16);
const optionalText = or(null, text);
const viewerStatus = shape<ViewerStatus>({ viewer: u32, rights, visible: flag });

/** Base64 only: the text becomes part of a CSS `url()`. */
const base64: Check<string> = (value, path) => {
  const s = text(value, path);
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(s)) throw new Malformed(path, "base64");
  return s;
};

const status = shape<Status>({
  display: word("waiting", "live"),
  message: or("", text),
  codec: optionalText,
  tier: or("main", word("main", "low")),
  encoder: optionalText,
  fallback: optionalText,
  path: optionalText,
  canResize: flag,
  viewers: list(viewerStatus),
  controller: or(null, u32),
  settings,
});

const notice = shape<Notice>({
  action: word("suspend", "delete"),
  at: number,
  leftMs: number,
  reason: optionalText,
  homeStays: or(null, flag),
});

const turn = or(null, shape<TurnAccess>({ username: text, credential: text, tls: or(false, flag) }));
const iceServer = shape<IceServer>({ urls: list(text, 16), username: optionalText, credential: optionalText });
const iceServers = or([], list(iceServer, 32));

type Bodies = { [K in ServerMessage["type"]]: Check<Omit<Extract<ServerMessage, { type: K }>, "type">> };

const bodies: Bodies = {
  hello: shape({
    version: u32,
    features: or([], list(text)),
    viewer: u32,
    rights,
    settings,
    screens,
    ticket: text,
    resumed: flag,
    heartbeatMs: number,
    turn,
    iceServers,
  }),
  answer: shape({ sdp: text }),
  ticket: shape({ ticket: text, turn, iceServers }),
  roundTrip: shape({ ms: number }),
  status,
  notice: shape({ notice: or(null, notice) }),
  screens: shape({ screens }),
  cursor: shape({ png: or(null, base64), hotX: u16, hotY: u16, width: u16, height: u16 }),
  pointer: shape({ x: u16, y: u16 }),
  locks: shape({ caps: flag, num: flag }),
  controlRequest: shape({ viewer: u32 }),
  error: shape({ code: text, message: text }),
  bye: shape({ reason: word("shutdown", "replaced", "revoked", "full", "protocol"), message: text }),
};

/** A parsed message, or why there is none. `unknown` is to be ignored: newer gateways say more. */
export type Parsed =
  | { ok: true; message: ServerMessage }
  | { ok: false; why: "unknown" | "malformed"; detail: string };

/** Reads one JSON message of the gateway. Never throws. */
export function parseServerMessage(json: string): Parsed {
  if (json.length > MAX_JSON) return { ok: false, why: "malformed", detail: "too long" };
  try {
    const value: unknown = JSON.parse(json);
    const { type } = shape<{ type: string }>({ type: text })(value, "");
    if (!Object.hasOwn(bodies, type)) return { ok: false, why: "unknown", detail: type };
    const body = bodies[type as ServerMessage["type"]](value, "");
    return { ok: true, message: { type, ...body } as ServerMessage };
  } catch (error) {
    return { ok: false, why: "malformed", detail: error instanceof Error ? error.message : "not JSON" };
  }
}
