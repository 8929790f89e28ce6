// A stand-in for the gateway, for looking at the page without one. Never shipped.
//
//   node dev/mock.mjs [port]      then open http://127.0.0.1:PORT/ and, in another tab, /__desktop
//
// The page /__desktop plays the desktop: it answers offers with a canvas as video and shows what input arrives.
// GET /__say?message=JSON sends any message to every viewer; /__drop cuts the sockets; /__log gives the input frames.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { WebSocketServer } from "ws";

const DIST = join(import.meta.dirname, "../dist");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

const REFUSAL = JSON.stringify({ code: "unauthenticated", hint: "Run `kubectl vdi open alice -n desks` and follow the link." });

const settings = { bitrateKbps: 8000, fps: 60 };
let screens = [{ x: 0, y: 0, width: 1280, height: 720 }];
const status = {
  type: "status",
  display: "live",
  message: "",
  codec: "H264",
  encoder: "x264",
  path: "udp",
  canResize: true,
  viewers: [{ viewer: 1, rights: ["view", "control"], visible: true }],
  controller: 1,
  settings,
};
const log = [];
const viewers = new Set();
let desktop = null;
let locked = false;

/** Starts it; resolves to {port, url, say, drop, log, set, close}. */
export async function startMock(port = 0) {
  const http = createServer((request, response) => void serve(request, response));
  const sockets = new WebSocketServer({ noServer: true });
  http.on("upgrade", (request, socket, head) => {
    const path = new URL(request.url, "http://x").pathname;
    if (locked && path === "/sub/ws") return void socket.end("HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n");
    sockets.handleUpgrade(request, socket, head, (ws) => (path === "/__desktop" ? becomeDesktop(ws) : admit(ws)));
  });
  await new Promise((resolve) => http.listen(port, "127.0.0.1", resolve));
  const actual = http.address().port;
  return {
    port: actual,
    url: `http://127.0.0.1:${actual}/sub/`,
    say,
    log,
    status,
    drop: (code = 4000) => viewers.forEach((ws) => ws.close(code)),
    lock: (on) => (locked = on),
    restartMedia: () => desktop?.send(JSON.stringify({ kill: true })),
    close: () => (viewers.forEach((ws) => ws.terminate()), desktop?.terminate(), http.closeAllConnections(), http.close()),
  };
}

async function serve(request, response) {
  const url = new URL(request.url, "http://x");
  const reply = (code, body, type = "text/plain") =>
    response.writeHead(code, { "content-type": type, "content-security-policy": CSP, "cache-control": "no-store" }).end(body);
  if (url.pathname === "/__desktop") {
    return response.writeHead(200, { "content-type": "text/html" }).end(`<!doctype html><title>desktop</title><script type=module>${DESKTOP}</script>`);
  }
  if (url.pathname === "/__say") return reply(200, (say(JSON.parse(url.searchParams.get("message"))), "said"));
  if (url.pathname === "/__drop") return reply(200, (viewers.forEach((ws) => ws.close(4000)), "dropped"));
  if (url.pathname === "/__log") return reply(200, JSON.stringify(log), "application/json");
  if (!url.pathname.startsWith("/sub/")) return response.writeHead(302, { location: "/sub/" }).end();
  const path = url.pathname.slice("/sub/".length);
  if (path === "api/status") return locked ? reply(401, REFUSAL, "application/json") : reply(200, "{}", "application/json");
  if (path === "api/session") {
    const good = request.headers.authorization === "Bearer good";
    if (good) locked = false;
    return response.writeHead(good ? 204 : 401).end();
  }
  const file = join(DIST, normalize(path || "index.html"));
  if (!file.startsWith(DIST)) return reply(404, "");
  try {
    reply(200, await readFile(file), TYPES[extname(file)] ?? "application/octet-stream");
  } catch {
    reply(404, "not found");
  }
}

function say(message) {
  for (const ws of viewers) ws.send(JSON.stringify(message));
}

function admit(ws) {
  viewers.add(ws);
  ws.on("close", () => viewers.delete(ws));
  ws.on("message", (data, binary) => {
    if (binary) return void log.push({ lane: "socket", hex: data.toString("hex") });
    const message = JSON.parse(data.toString());
    log.push({ lane: "json", message });
    if (message.type === "hello") greet(ws, message);
    if (message.type === "viewport" || message.type === "hello") resize(message);
    if (message.type === "settings") say({ ...Object.assign(status, { settings: Object.assign(settings, { ...message, type: undefined }) }) });
    if (message.type === "offer" || message.type === "candidate") desktop?.send(JSON.stringify(message));
  });
}

function greet(ws, hello) {
  const resumed = hello.resume !== undefined;
  const send = (message) => ws.send(JSON.stringify(message));
  send({ type: "hello", version: 1, features: [], viewer: 1, rights: ["view", "control"], settings, screens, ticket: "t", resumed, heartbeatMs: 200 });
  send(status);
}

function resize({ css, devicePixelRatio, fit }) {
  if (fit !== "resize" || !status.canResize) return;
  screens = [{ x: 0, y: 0, width: Math.round(css.width * devicePixelRatio), height: Math.round(css.height * devicePixelRatio) }];
  say({ type: "screens", screens });
  desktop?.send(JSON.stringify({ size: screens[0] }));
}

function becomeDesktop(ws) {
  desktop = ws;
  ws.on("message", (data) => {
    const message = JSON.parse(data.toString());
    if (message.type === "answer") say(message);
    else log.push(message);
  });
}

const DESKTOP = `
const canvas = document.createElement("canvas");
canvas.width = 1280; canvas.height = 720; document.body.append(canvas);
const g = canvas.getContext("2d");
let n = 0;
function draw() {
  n += 1;
  const { width: w, height: h } = canvas;
  const sky = g.createLinearGradient(0, 0, w, h); sky.addColorStop(0, "#24405f"); sky.addColorStop(1, "#6b3f63");
  g.fillStyle = sky; g.fillRect(0, 0, w, h);
  g.fillStyle = "#10151d"; g.fillRect(0, 0, w, 28);
  g.fillStyle = "#dfe7f0"; g.font = "14px sans-serif"; g.fillText("Applications   Places   Terminal", 14, 19);
  g.fillStyle = "#0b0e12"; g.fillRect(w * .1, h * .15, w * .55, h * .6);
  g.fillStyle = "#29313c"; g.fillRect(w * .1, h * .15 - 26, w * .55, 26);
  g.fillStyle = "#8fd694"; g.font = "15px monospace";
  ["user@desktop:~$ make demo", "gateway on http://127.0.0.1:8080/", "frame " + n].forEach((t, i) => g.fillText(t, w * .1 + 14, h * .15 + 28 + 22 * i));
  g.fillStyle = "#ffb454"; g.fillRect(w * .72 + 60 * Math.sin(n / 20), h * .3, 120, 120);
  requestAnimationFrame(draw);
}
draw();
let pc = null;
const ws = new WebSocket("ws://" + location.host + "/__desktop");
ws.onmessage = async ({ data }) => {
  const m = JSON.parse(data);
  if (m.size) { canvas.width = m.size.width; canvas.height = m.size.height; }
  if (m.kill) pc?.close();
  if (m.type === "offer") {
    pc?.close();
    const mine = pc = new RTCPeerConnection();
    for (const [label, id] of [["control", 0], ["motion", 1]]) {
      const c = mine.createDataChannel(label, { negotiated: true, id, ...(id ? { ordered: false, maxRetransmits: 0 } : {}) });
      c.binaryType = "arraybuffer";
      c.onmessage = ({ data }) => ws.send(JSON.stringify(typeof data === "string" ? { lane: label, text: data }
        : { lane: label, hex: Array.from(new Uint8Array(data), (b) => b.toString(16).padStart(2, "0")).join("") }));
    }
    await mine.setRemoteDescription(m);
    const video = mine.getTransceivers().find((t) => t.receiver.track.kind === "video");
    await video.sender.replaceTrack(canvas.captureStream(60).getVideoTracks()[0]);
    video.direction = "sendonly";
    await mine.setLocalDescription();
    await new Promise((done) => { const check = () => mine.iceGatheringState === "complete" && done(); mine.onicegatheringstatechange = check; check(); });
    ws.send(JSON.stringify({ type: "answer", sdp: mine.localDescription.sdp }));
  }
  if (m.type === "candidate" && m.candidate) await pc?.addIceCandidate({ candidate: m.candidate, sdpMid: m.sdpMid, sdpMLineIndex: m.sdpMLineIndex }).catch(() => {});
};
`;

if (process.argv[1] === import.meta.filename) {
  const mock = await startMock(Number(process.argv[2] ?? 8090));
  console.log(`page ${mock.url}\ndesktop http://127.0.0.1:${mock.port}/__desktop`);
}
