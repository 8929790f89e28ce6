// A plain byte-copying forwarder, as `kubectl port-forward` is one: TCP on one side, TCP on the other, and nothing
// else. Each half may run in a network namespace of its own; a socket in the file system joins them.
//
// node forward.mjs enter ADDRESS:PORT SOCKET [all|tls]   listens for the browser; `tls` cuts what is no TLS, as
//                                                        some firewalls do
// node forward.mjs leave SOCKET ADDRESS:PORT             connects to the gateway

import { createConnection, createServer } from "node:net";

const address = (text) => {
  const [, host, port] = /^\[?(.+?)\]?:(\d+)$/.exec(text);
  return { host, port: Number(port) };
};

/** First byte of a TLS handshake record. */
const HANDSHAKE = 0x16;

const [role, from, to, pass = "all"] = process.argv.slice(2);
const server = createServer({ noDelay: true }, (near) => {
  if (pass === "all") return join(near);
  near.on("error", () => {});
  near.once("data", (first) => {
    if (first[0] !== HANDSHAKE) return near.destroy();
    near.unshift(first);
    join(near);
  });
});

function join(near) {
  const far = role === "enter" ? createConnection(to) : createConnection({ ...address(to), noDelay: true });
  near.pipe(far).pipe(near);
  for (const [one, other] of [[near, far], [far, near]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
}

const listen = role === "enter" ? address(from) : { path: from };
server.listen(listen, () => console.log(role === "enter" ? server.address().port : "ready"));
