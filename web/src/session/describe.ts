// PURE. The session's state in words for people.

import type { Session } from "./machine";

/** What a person sees in the place of, or over, the picture. */
export interface View {
  kind: "connecting" | "waiting" | "reconnecting" | "live" | "ended" | "login";
  title: string;
  /** What is being waited for, or what to do. */
  detail: string;
  /** How to get in, in the words of whoever runs this desktop; {@link spans} are commands. */
  hint: string;
  /** Text of the button, if there is something to press. */
  action: string | null;
  /** Something is under way. */
  busy: boolean;
}

const LIVE: View = { kind: "live", title: "Live", detail: "", hint: "", action: null, busy: false };

const ENDED: Readonly<Record<string, Omit<View, "kind" | "hint">>> = {
  shutdown: {
    title: "The desktop's gateway has stopped",
    detail: "This page looks for it and comes back by itself.",
    action: "Try now",
    busy: true,
  },
  full: {
    title: "This desktop is full",
    detail: "As many people as it allows are looking at it. This page tries again by itself.",
    action: "Try now",
    busy: true,
  },
  replaced: {
    title: "Opened elsewhere",
    detail: "This session goes on in another tab or on another device.",
    action: "Use it here",
    busy: false,
  },
  revoked: {
    title: "Access was withdrawn",
    detail: "The link that you came by is no longer valid. Ask for a new one.",
    action: null,
    busy: false,
  },
  protocol: {
    title: "The gateway ended this connection",
    detail: "Page and gateway did not understand each other.",
    action: "Connect again",
    busy: false,
  },
  left: { title: "Disconnected", detail: "The desktop goes on without you.", action: "Connect again", busy: false },
};

/** The view of a session. */
export function describe(session: Session): View {
  switch (session.stage) {
    case "denied":
      return {
        kind: "login",
        title: "You need a link to get in",
        detail:
          session.hint === ""
            ? "Open the link that was printed when this desktop started, or ask its owner for one. " +
              "It ends in #token=…; links run out, so an old one may no longer work."
            : "Links run out, so an old one may no longer work.",
        hint: session.hint,
        action: "Try again",
        busy: false,
      };
    case "ended":
      return ended(session);
    case "live":
      return LIVE;
    case "signing-in":
      return { kind: "connecting", title: "Signing in", detail: "", hint: "", action: null, busy: true };
    case "signalling":
      return pending(session, session.wasLive ? "Waiting for the gateway to answer." : "Reaching the gateway.");
    case "media":
      return media(session);
  }
}

function ended(session: Session): View {
  const { reason, message } = session.bye ?? { reason: "left", message: "" };
  const view = ENDED[reason] ?? { title: "Disconnected", detail: "", action: "Connect again", busy: false };
  return { kind: "ended", hint: "", ...view, detail: [message, view.detail].filter((s) => s !== "").join(" ") };
}

function media(session: Session): View {
  const { status } = session.facts;
  if (session.error !== "") return pending(session, session.error);
  if (status?.display === "waiting") {
    return { kind: "waiting", title: "Waiting for the desktop", detail: status.message, hint: "", action: null, busy: true };
  }
  if (session.streamTrouble !== "") return pending(session, session.streamTrouble);
  if (session.peerState !== "connected") {
    return pending(session, session.wasLive ? "Setting the video connection up anew." : "Setting up the video connection.");
  }
  return pending(session, status?.message === undefined || status.message === "" ? "Waiting for the first picture." : status.message);
}

function pending(session: Session, detail: string): View {
  const kind = session.wasLive ? "reconnecting" : "connecting";
  return { kind, title: session.wasLive ? "Reconnecting" : "Connecting", detail, hint: "", action: null, busy: true };
}

/** A part of a text: something to type, or words. */
export interface Span {
  text: string;
  code: boolean;
}

/** Splits a text into words and the commands that stand in backticks. */
export function spans(text: string): Span[] {
  const parts = text.split("`");
  // One backtick too many is no command, but a backtick.
  if (parts.length % 2 === 0) return [{ text, code: false }];
  return parts.map((part, i) => ({ text: part.trim(), code: i % 2 === 1 })).filter((span) => span.text !== "");
}
