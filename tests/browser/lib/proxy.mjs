// A reverse proxy that serves a gateway under a path, as an ingress does.

import http from "node:http";
import net from "node:net";

/** Passes `PREFIX…` on to `port` without the prefix; gives its own URL. */
export async function proxy(port, prefix) {
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith(prefix)) {
      response.writeHead(404).end();
      return;
    }
    const { method, headers } = request;
    const path = `/${request.url.slice(prefix.length)}`;
    const onward = http.request({ host: "127.0.0.1", port, method, headers, path }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  const sockets = new Set();
  server.on("connection", (socket) => sockets.add(socket.on("close", () => sockets.delete(socket))));
  server.on("upgrade", (request, client, head) => {
    const gateway = net.connect(port, "127.0.0.1", () => {
      const lines = request.rawHeaders.map((text, i) => (i % 2 ? `: ${text}\r\n` : text)).join("");
      gateway.write(`${request.method} /${request.url.slice(prefix.length)} HTTP/1.1\r\n${lines}\r\n`);
      gateway.write(head);
      client.pipe(gateway).pipe(client);
    });
    for (const [one, other] of [[client, gateway], [gateway, client]]) one.on("error", () => other.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://localhost:${server.address().port}${prefix}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
