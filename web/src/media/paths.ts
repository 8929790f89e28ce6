// PURE. The ways to the gateway that are offered to ICE besides the candidates of its answer.

import type { TurnAccess } from "../wire/signal";

/** What is needed of `location`. */
export interface Place {
  protocol: string;
  hostname: string;
  port: string;
}

/**
 * The TURN server inside the gateway, over TCP, where the page came from: whatever carries the page there (a
 * forwarded port, a NodePort) carries the picture too. Behind a proxy that ends TLS there is none: it would pass HTTP only.
 */
export function iceServers(turn: TurnAccess | null, { protocol, hostname, port }: Place): RTCIceServer[] {
  if (turn === null || protocol !== "http:") return [];
  return [{ urls: `turn:${hostname}:${port || "80"}?transport=tcp`, ...turn }];
}
