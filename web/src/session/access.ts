// Asking the gateway whether this browser may in.

import { or, shape, text } from "../wire/check";
import type { Access } from "./machine";

/** Takes the token out of the address bar, so that it is neither bookmarked nor shared by accident. */
export function takeToken(): string | null {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null || token === "") return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}

/** The gateway's answer. `hint`: how to get in, where it has something to say of that. */
export interface Answer {
  access: Access;
  hint: string;
}

/** Swaps the token for the session's cookie. */
export function login(token: string): Promise<Answer> {
  return ask("api/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
}

/** Whether the cookie (or whatever else the gateway goes by) is still good. */
export function checkAccess(): Promise<Answer> {
  return ask("api/status", { method: "GET" });
}

async function ask(path: string, init: RequestInit): Promise<Answer> {
  try {
    const response = await fetch(path, { ...init, credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(8_000) });
    if (response.status === 401 || response.status === 403) return { access: "denied", hint: await hintOf(response) };
    return { access: response.ok ? "ok" : "unreachable", hint: "" };
  } catch {
    return { access: "unreachable", hint: "" };
  }
}

/** A proxy in front may refuse with a page of its own. */
async function hintOf(response: Response): Promise<string> {
  try {
    return shape<{ hint: string }>({ hint: or("", text) })(await response.json(), "").hint;
  } catch {
    return "";
  }
}

const BLOCKED = "deskgate.blocked";

/** WebRTC did not get through to this gateway on the last visit. */
export function wasBlocked(): boolean {
  try {
    return localStorage.getItem(BLOCKED) !== null;
  } catch {
    return false;
  }
}

/** See {@link wasBlocked}. */
export function rememberBlocked(blocked: boolean): void {
  try {
    if (blocked) localStorage.setItem(BLOCKED, "1");
    else localStorage.removeItem(BLOCKED);
  } catch {
    // Storage may be forbidden: the next visit tries WebRTC first again.
  }
}

const TICKET = "deskgate.ticket";

/**
 * The ticket of this tab before it was reloaded. It is stored only while the page is away, so that
 * a duplicated tab does not take over the original's place.
 */
export function takeTicket(): string | null {
  try {
    const ticket = sessionStorage.getItem(TICKET);
    sessionStorage.removeItem(TICKET);
    return ticket;
  } catch {
    return null;
  }
}

/** See {@link takeTicket}. */
export function keepTicket(ticket: string | null): void {
  try {
    if (ticket !== null) sessionStorage.setItem(TICKET, ticket);
  } catch {
    // Storage may be forbidden: a reload then makes a new viewer.
  }
}
