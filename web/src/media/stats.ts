// PURE. getStats() reports → the figures that are shown.

/** Counters at one moment; what a browser does not report is absent. */
export interface Snapshot {
  at: number;
  framesDecoded: number;
  framesDropped: number;
  bytes: number;
  packets: number;
  lost: number;
  freezes: number;
  jitterBufferDelay: number;
  jitterBufferEmitted: number;
  decodeTime: number;
  processing: number;
  assembly: number;
  assembled: number;
  keyFrames: number;
  plis: number;
  nacks: number;
  rttMs: number | null;
  /** How long before `at` the last packet arrived, milliseconds; 0 where the browser does not say. */
  packetAge: number;
  width: number;
  height: number;
  codec: string;
  decoder: string;
  path: string;
}

/** Figures between two snapshots. */
export interface Figures {
  fps: number;
  kbps: number;
  jitterBufferMs: number | null;
  decodeMs: number | null;
  processingMs: number | null;
  assemblyMs: number | null;
  rttMs: number | null;
  lossPercent: number;
  dropped: number;
  freezes: number;
  plis: number;
  nacks: number;
  width: number;
  height: number;
  codec: string;
  decoder: string;
  path: string;
}

type Report = Readonly<Record<string, unknown>>;

function num(report: Report | undefined, key: string): number {
  const value = report?.[key];
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function str(report: Report | undefined, key: string): string {
  const value = report?.[key];
  return typeof value === "string" ? value : "";
}

/** Reads an RTCStatsReport (given as its values). */
export function snapshot(reports: Iterable<Report>, at: number): Snapshot {
  const byId = new Map<string, Report>();
  for (const report of reports) byId.set(str(report, "id"), report);
  const all = [...byId.values()];
  const video = all.find((r) => r.type === "inbound-rtp" && r.kind === "video");
  const transport = all.find((r) => r.type === "transport" && str(r, "selectedCandidatePairId") !== "");
  const pair =
    byId.get(str(transport, "selectedCandidatePairId")) ??
    all.find((r) => r.type === "candidate-pair" && (r.selected === true || (r.nominated === true && r.state === "succeeded")));
  const rtt = pair?.currentRoundTripTime;
  return {
    at,
    framesDecoded: num(video, "framesDecoded"),
    framesDropped: num(video, "framesDropped"),
    bytes: num(video, "bytesReceived"),
    packets: num(video, "packetsReceived"),
    lost: num(video, "packetsLost"),
    freezes: num(video, "freezeCount"),
    jitterBufferDelay: num(video, "jitterBufferDelay"),
    jitterBufferEmitted: num(video, "jitterBufferEmittedCount"),
    decodeTime: num(video, "totalDecodeTime"),
    processing: num(video, "totalProcessingDelay"),
    assembly: num(video, "totalAssemblyTime"),
    assembled: num(video, "framesAssembledFromMultiplePackets"),
    keyFrames: num(video, "keyFramesDecoded"),
    plis: num(video, "pliCount"),
    nacks: num(video, "nackCount"),
    rttMs: typeof rtt === "number" ? rtt * 1_000 : null,
    packetAge: Math.max(0, num(video, "timestamp") - (num(video, "lastPacketReceivedTimestamp") || num(video, "timestamp"))),
    width: num(video, "frameWidth"),
    height: num(video, "frameHeight"),
    codec: str(byId.get(str(video, "codecId")), "mimeType").replace(/^video\//, ""),
    decoder: str(video, "decoderImplementation"),
    path: pathOf(byId.get(str(pair, "localCandidateId")), byId.get(str(pair, "remoteCandidateId"))),
  };
}

function pathOf(local: Report | undefined, remote: Report | undefined): string {
  if (!local) return "";
  const relay = str(local, "candidateType") === "relay";
  const protocol = relay ? `turn/${str(local, "relayProtocol")}` : str(local, "protocol");
  const address = str(remote, "address") || str(remote, "ip");
  const port = num(remote, "port");
  return address === "" ? protocol : `${protocol} ${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** What happened between two snapshots of the same connection. */
export function figures(before: Snapshot, after: Snapshot): Figures {
  const seconds = Math.max(0.001, (after.at - before.at) / 1_000);
  const diff = (key: keyof Snapshot): number => Math.max(0, Number(after[key]) - Number(before[key]));
  const mean = (total: keyof Snapshot, count: keyof Snapshot): number | null => {
    const n = diff(count);
    return n > 0 ? (diff(total) / n) * 1_000 : null;
  };
  const packets = diff("packets") + diff("lost");
  return {
    fps: diff("framesDecoded") / seconds,
    kbps: (diff("bytes") * 8) / 1_000 / seconds,
    jitterBufferMs: mean("jitterBufferDelay", "jitterBufferEmitted"),
    decodeMs: mean("decodeTime", "framesDecoded"),
    processingMs: mean("processing", "framesDecoded"),
    assemblyMs: mean("assembly", "assembled"),
    rttMs: after.rttMs,
    lossPercent: packets > 0 ? (diff("lost") / packets) * 100 : 0,
    dropped: diff("framesDropped"),
    freezes: after.freezes,
    plis: after.plis,
    nacks: after.nacks,
    width: after.width,
    height: after.height,
    codec: after.codec,
    decoder: after.decoder,
    path: after.path,
  };
}
