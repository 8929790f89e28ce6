// A plain byte-copying forwarder, as `kubectl port-forward` is one: TCP on one side, TCP on the other, and nothing
// else. Each half may run in a network namespace of its own; a socket in the file system joins them.
//
// node forward.mjs enter ADDRESS:PORT SOCKET [all|tls|http] [KBPS]   listens for the browser; `tls` and `http` cut what
//                                                                    is no such thing, as some firewalls do; KBPS is
//                                                                    what all connections to the browser share
// node forward.mjs leave SOCKET ADDRESS:PORT                         connects to the gateway

import { createConnection, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const address = (text) => {
  const [, host, port] = /^\[?(.+?)\]?:(\d+)$/.exec(text);
  return { host, port: Number(port) };
};

/** Whether a connection may go on, by its first byte: a TLS handshake record; the capital letter of a method. */
const PASS = { all: null, tls: (byte) => byte === 0x16, http: (byte) => byte >= 0x41 && byte <= 0x5a };
/** Bytes that a slow link takes at once: a packet. */
const PACKET = 1_400;
/** How late a packet of it may be, milliseconds. */
const LAG = 50;

const [role, from, to, pass = "all", kbps] = process.argv.slice(2);
const may = PASS[pass];
const server = createServer({ noDelay: true }, (near) => {
  if (may === null) return join(near);
  near.on("error", () => {});
  near.once("data", (first) => {
    if (!may(first[0])) return near.destroy();
    near.unshift(first);
    join(near);
  });
});

function join(near) {
  const far = role === "enter" ? createConnection(to) : createConnection({ ...address(to), noDelay: true });
  for (const [one, other] of [[near, far], [far, near]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
  near.pipe(far);
  if (kbps === undefined) far.pipe(near);
  else void trickle(far, near).catch(() => near.destroy());
}

/** When the link has sent what it was given, milliseconds. */
let free = 0;

/** Copies no faster than the link. Nothing waits here: what is not read stays with its sender. */
async function trickle(far, near) {
  for await (const chunk of far) {
    for (let at = 0; at < chunk.length; at += PACKET) {
      const part = chunk.subarray(at, at + PACKET);
      // A machine that was busy makes up for it: else the link would carry less than it says.
      free = Math.max(free, performance.now() - LAG) + (part.length * 8) / Number(kbps);
      await pause(Math.max(0, free - performance.now()));
      near.write(part);
    }
  }
  near.end();
}

const listen = role === "enter" ? address(from) : { path: from };
server.listen(listen, () => console.log(role === "enter" ? server.address().port : "ready"));
