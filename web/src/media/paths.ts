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
 * forwarded port, a NodePort) carries the picture too. A page over TLS that ends in the gateway gets TURN over TLS as
 * well, for networks that pass nothing else; ICE prefers it bare. Behind a proxy that ends TLS there is none: it would
 * pass HTTP only.
 */
export function iceServers(turn: TurnAccess | null, { protocol, hostname, port }: Place): RTCIceServer[] {
  if (turn === null) return [];
  const { tls, ...access } = turn;
  const secure = protocol === "https:";
  if (secure && !tls) return [];
  const place = `${hostname}:${port || (secure ? "443" : "80")}?transport=tcp`;
  return (secure ? ["turn", "turns"] : ["turn"]).map((scheme) => ({ urls: `${scheme}:${place}`, ...access }));
}
