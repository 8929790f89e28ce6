// PURE. The ways to the gateway that are offered to ICE besides the candidates of its answer.

import type { IceServer, TurnAccess } from "../wire/signal";

/** RFC 8445 §5.1.2.1 and RFC 6544 §4.2: as libwebrtc has it, behind UDP (126) and before every relay; passive. */
const PRIORITY = 90 * 2 ** 24 + ((4 << 13) | 0x1fff) * 2 ** 8 + 255;

/** What is needed of `location`. */
export interface Place {
  protocol: string;
  hostname: string;
  port: string;
}

/**
 * The TURN server inside the gateway, over TCP, where the page came from: whatever carries the page there (a
 * forwarded port, a NodePort) carries the picture too. A page over TLS that ends in the gateway gets TURN over TLS as
 * well, for networks that pass nothing else; ICE prefers it bare. Behind a proxy that ends TLS there is none: it would
 * pass HTTP only.
 */
export function ownServers(turn: TurnAccess | null, { protocol, hostname, port }: Place): RTCIceServer[] {
  if (turn === null) return [];
  const { tls, ...access } = turn;
  const secure = protocol === "https:";
  if (secure && !tls) return [];
  const place = `${hostname}:${port || (secure ? "443" : "80")}?transport=tcp`;
  return (secure ? ["turn", "turns"] : ["turn"]).map((scheme) => ({ urls: `${scheme}:${place}`, ...access }));
}

/**
 * The same way by ICE-TCP (RFC 6544). Only the page knows where it came from, so it adds these candidates of the gateway
 * itself; only where the address bar holds an address, since Firefox does not look names up.
 */
export function tcpCandidates({ protocol, hostname, port: typed }: Place): RTCIceCandidateInit[] {
  const port = Number(typed) || (protocol === "https:" ? 443 : 80);
  return addresses(hostname)
    .filter((address) => allowed(address, port))
    .map((address) => ({
      candidate: `candidate:tcp 1 tcp ${PRIORITY} ${address} ${port} typ host tcptype passive`,
      sdpMLineIndex: 0,
    }));
}

function addresses(hostname: string): string[] {
  if (hostname === "localhost") return ["127.0.0.1", "::1"];
  const v6 = /^\[(.+)\]$/.exec(hostname)?.[1];
  if (v6 !== undefined) return [v6];
  return /^[\d.]+$/.test(hostname) ? [hostname] : [];
}

/** Chromium takes no other candidates: a page must not make it talk to the mail server of the house. */
function allowed(address: string, port: number): boolean {
  return port >= 1024 || ((port === 80 || port === 443) && !PRIVATE.test(address));
}

/** Loopback, link-local and private addresses, as they stand in an address bar: shortest form, lower case. */
const PRIVATE = /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|::1$|f[cd]|fe[89ab])/;

/** All servers that ICE is to use. */
export function iceServers(turn: TurnAccess | null, others: readonly IceServer[], place: Place): RTCIceServer[] {
  const server = ({ urls, username, credential }: IceServer): RTCIceServer =>
    username === null || credential === null ? { urls } : { urls, username, credential };
  return [...ownServers(turn, place), ...others.map(server)];
}

/**
 * What `make` makes of all servers; or of our own, or of none: a browser that does not like one of them refuses them
 * all (W3C WebRTC §4.4.1.6). Null: it makes nothing of any.
 */
export function withServers<T>(
  make: (servers: RTCIceServer[]) => T,
  turn: TurnAccess | null,
  others: readonly IceServer[],
  place: Place,
): T | null {
  for (const servers of [iceServers(turn, others, place), ownServers(turn, place), []]) {
    try {
      return make(servers);
    } catch {
      // The next has fewer.
    }
  }
  return null;
}
