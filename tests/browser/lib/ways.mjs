// The ways to the one port, each set up so that nothing but itself gets through.

import { writeFileSync } from "node:fs";
import nodePath from "node:path";
import { Authority } from "./authority.mjs";
import { Gateway } from "./gateway.mjs";
import { Forwarder, Joint, Namespace, Nginx } from "./network.mjs";
import { folder } from "./run.mjs";

/** The gateway's address. */
export const POD = "10.42.0.7";
/** Addresses of a laptop on the same cable, and of one in another network. */
const [NEAR, FAR] = ["10.42.0.20", "192.168.1.20"];

/** A way as the gateway knows it, and as the browser does. */
export const WAYS = { udp: /^udp /, "turn-tcp": /^turn\/tcp /, turns: /^turn\/tls /, "ice-tcp": /^tcp /, websocket: /^websocket$/ };

/** A file with a secret that signs tokens. */
export function secretFile() {
  const secret = nodePath.join(folder(), "secret");
  writeFileSync(secret, "0123456789".repeat(4));
  return secret;
}

/** A gateway and a browser in two networks that have nothing in common but a forwarder of TCP. */
export async function apart(scope, display, { args = [], env = {}, pass = "all" } = {}) {
  const [pod, laptop] = [scope.add(await Namespace.create(POD)), scope.add(await Namespace.create(FAR))];
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod, args }));
  const forward = (port, kbps) =>
    Forwarder.start(laptop, `127.0.0.1:${port}`, pod, `127.0.0.1:${gateway.port}`, { pass, kbps });
  const forwarder = scope.add(await forward(0));
  const chromium = scope.add(await laptop.browser(env));
  return { gateway, forwarder, forward, chromium, url: `http://localhost:${forwarder.port}/` };
}

/** The same where nothing but TLS passes, with a certificate that the browser trusts. */
export async function apartByTls(scope, display) {
  const [authority, secret] = [await Authority.create(), secretFile()];
  const args = [...(await authority.flags("DNS:localhost")), "--token-secret-file", secret];
  const ends = await apart(scope, display, { args, env: await authority.home(), pass: "tls" });
  const link = await ends.gateway.link(secret, "control");
  return { ...ends, url: link.replace(ends.gateway.origin, `https://localhost:${ends.forwarder.port}`) };
}

/** A gateway and a browser on one cable; `beside` starts what else is to run in the gateway's pod. */
export async function wired(scope, display, { args = [], env = {}, beside } = {}) {
  const [pod, laptop] = (await Namespace.pair(POD, NEAR)).map((namespace) => scope.add(namespace));
  const neighbour = beside && scope.add(await beside(pod));
  const secret = secretFile();
  const all = ["--token-secret-file", secret, ...args];
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod, address: pod.address, args: all, env }));
  const chromium = scope.add(await laptop.browser());
  const url = (await gateway.link(secret, "control")).replace("localhost", pod.address);
  return { gateway, neighbour, laptop, chromium, url };
}

/** Only a proxy between the two, which knows HTTP and WebSockets; at a sub-path. */
export async function proxied(scope, display) {
  const [pod, laptop] = [scope.add(await Namespace.create(POD)), scope.add(await Namespace.create(FAR))];
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod }));
  const joint = scope.add(await Joint.start(pod, `127.0.0.1:${gateway.port}`));
  scope.add(await Nginx.start(laptop, "127.0.0.1:8088", "/team/desk/", `unix:${joint.path}:`));
  const chromium = scope.add(await laptop.browser());
  return { gateway, chromium, url: "http://localhost:8088/team/desk/" };
}

/** Such a proxy on the gateway's machine, UDP blocked, and a page without HTTPS. */
export async function proxiedInClear(scope, display) {
  const [pod, laptop] = (await Namespace.pair(POD, NEAR)).map((namespace) => scope.add(namespace));
  await laptop.blockUdp();
  const secret = secretFile();
  const gateway = scope.add(await Gateway.start(display.name, { namespace: pod, args: ["--token-secret-file", secret] }));
  scope.add(await Nginx.start(pod, `${pod.address}:8088`, "/", `127.0.0.1:${gateway.port}`));
  const chromium = scope.add(await laptop.browser());
  const link = new URL(await gateway.link(secret, "control"));
  link.host = `${pod.address}:8088`;
  return { gateway, laptop, chromium, url: link.href };
}

/** Runs in the page. */
export function withoutTurn() {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      super({ ...configuration, iceServers: [] });
    }
  };
}

/** Runs in the page. */
export function withoutIceTcp() {
  const add = RTCPeerConnection.prototype.addIceCandidate;
  RTCPeerConnection.prototype.addIceCandidate = function (candidate) {
    return /tcptype/.test(candidate?.candidate) ? Promise.resolve() : add.call(this, candidate);
  };
}

/** Runs in the page. */
export function relayOnly() {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(configuration) {
      super({ ...configuration, iceTransportPolicy: "relay" });
    }
  };
}
