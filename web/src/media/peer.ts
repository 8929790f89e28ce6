// One RTCPeerConnection: offers once, opens the two data channels, hands over the video.

import type { Lane } from "../input/outbox";
import type { PeerState } from "../session/machine";
import { CONTROL_CHANNEL, MOTION_CHANNEL, type ClientMessage } from "../wire/signal";
import { orderCodecs } from "./codecs";
import { snapshot, type Snapshot } from "./stats";

/** Motion that would queue behind this many bytes is dropped: a newer one is on its way. */
const MOTION_BACKLOG = 4_096;

/** What a peer connection tells its owner. */
export interface PeerHooks {
  /** To be sent to the gateway. */
  signal(message: ClientMessage): void;
  state(state: PeerState): void;
  /** The video; `flowing`: packets have arrived. */
  video(track: MediaStreamTrack, flowing: boolean): void;
  audio(track: MediaStreamTrack): void;
  /** A text message on the control channel. */
  text(json: string): void;
}

/** A peer connection and its channels. */
export class Peer {
  private readonly pc: RTCPeerConnection;
  private readonly controlChannel: RTCDataChannel;
  private readonly motionChannel: RTCDataChannel;
  private early: ClientMessage[] | null = [];
  private closed = false;

  constructor(
    private readonly hooks: PeerHooks,
    iceServers: RTCIceServer[],
  ) {
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers });
    this.controlChannel = this.pc.createDataChannel("control", { negotiated: true, id: CONTROL_CHANNEL, ordered: true });
    this.motionChannel = this.pc.createDataChannel("motion", {
      negotiated: true,
      id: MOTION_CHANNEL,
      ordered: false,
      maxRetransmits: 0,
    });
    this.controlChannel.binaryType = this.motionChannel.binaryType = "arraybuffer";
    this.controlChannel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") hooks.text(data);
    };
    // The gateway went away in good order: sooner known by this than by ICE.
    this.controlChannel.onclose = () => hooks.state("failed");
    this.pc.onconnectionstatechange = () => this.report();
    this.pc.onicecandidate = ({ candidate }) => this.trickle(candidate);
    this.pc.ontrack = ({ track }) => this.track(track);
  }

  /** Makes the offer and sends it; candidates follow. */
  async offer(): Promise<void> {
    const video = this.pc.addTransceiver("video", { direction: "recvonly" });
    const audio = this.pc.addTransceiver("audio", { direction: "recvonly" });
    // The place of a microphone: present from the start, so that it needs no second negotiation.
    this.pc.addTransceiver("audio", { direction: "inactive" });
    preferCodecs(video);
    for (const { receiver } of [video, audio]) receiver.jitterBufferTarget = 0;
    await this.pc.setLocalDescription();
    const sdp = this.pc.localDescription?.sdp;
    if (this.closed || sdp === undefined) return;
    this.hooks.signal({ type: "offer", sdp });
    const early = this.early ?? [];
    this.early = null;
    for (const message of early) this.hooks.signal(message);
  }

  /** Takes the answer to the offer, and candidates of the gateway that do not stand in it. */
  async accept(sdp: string, candidates: readonly RTCIceCandidateInit[]): Promise<void> {
    if (this.pc.signalingState !== "have-local-offer") return;
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    // One that the browser does not like is one way fewer, and nothing else.
    await Promise.allSettled(candidates.map((candidate) => this.pc.addIceCandidate(candidate)));
  }

  /** Ordered and reliable. */
  readonly control: Lane = { send: (bytes) => write(this.controlChannel, bytes) };

  /** Neither; drops rather than queues. */
  readonly motion: Lane = {
    send: (bytes) => this.motionChannel.bufferedAmount > MOTION_BACKLOG || write(this.motionChannel, bytes),
  };

  /** Sends a JSON message on the control channel; false if it is not open. */
  say(message: ClientMessage): boolean {
    if (this.controlChannel.readyState !== "open") return false;
    this.controlChannel.send(JSON.stringify(message));
    return true;
  }

  /** Counters of this moment. */
  async stats(): Promise<Snapshot> {
    const report = await this.pc.getStats();
    const reports: Record<string, unknown>[] = [];
    report.forEach((value: Record<string, unknown>) => reports.push(value));
    return snapshot(reports, performance.now());
  }

  /** Ends everything; no hook is called afterwards. */
  close(): void {
    this.closed = true;
    this.pc.onconnectionstatechange = this.pc.onicecandidate = this.pc.ontrack = null;
    this.controlChannel.onmessage = this.controlChannel.onclose = null;
    this.pc.close();
  }

  private report(): void {
    const state = this.pc.connectionState;
    if (state === "connected" || state === "disconnected" || state === "failed") this.hooks.state(state);
  }

  private trickle(candidate: RTCIceCandidate | null): void {
    const message: ClientMessage = { type: "candidate" };
    if (candidate !== null && candidate.candidate !== "") {
      message.candidate = candidate.candidate;
      if (candidate.sdpMid !== null) message.sdpMid = candidate.sdpMid;
      if (candidate.sdpMLineIndex !== null) message.sdpMLineIndex = candidate.sdpMLineIndex;
    }
    if (this.early) this.early.push(message);
    else this.hooks.signal(message);
  }

  private track(track: MediaStreamTrack): void {
    if (track.kind !== "video") {
      track.onunmute = () => this.hooks.audio(track);
      return;
    }
    this.hooks.video(track, !track.muted);
    track.onunmute = () => this.hooks.video(track, true);
  }
}

function write(channel: RTCDataChannel, bytes: Uint8Array<ArrayBuffer>): boolean {
  if (channel.readyState !== "open") return false;
  channel.send(bytes);
  return true;
}

/** Best effort: where the browser refuses, its own order stands. */
function preferCodecs(video: RTCRtpTransceiver): void {
  try {
    const capabilities = RTCRtpReceiver.getCapabilities("video");
    if (capabilities) video.setCodecPreferences(orderCodecs(capabilities.codecs));
  } catch {
    // Older Firefox has no setCodecPreferences.
  }
}
