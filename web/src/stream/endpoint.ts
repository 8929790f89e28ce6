// The page's WebSocket, and the video on it: received, acknowledged and decoded here.
//
// It runs in a worker, where nothing that the page does keeps a frame's acknowledgement waiting: the gateway takes a late
// one for a slow way. Where there are no workers it runs on the page.

import { acknowledgement, parseVideo, type VideoCodec } from "../wire/media";
import { Decoder } from "./decoder";

/** What it is told. */
export type Command =
  | { kind: "open"; socket: number; url: string; protocol: string }
  | { kind: "send"; data: string | Uint8Array<ArrayBuffer> }
  | { kind: "close" }
  /** Decode what comes, or hand it over as it is. */
  | { kind: "decode"; on: boolean }
  /** A picture was drawn. */
  | { kind: "drawn" };

/** What it tells; `socket` is the number of the socket that it is about. */
export type Report =
  | { kind: "ready" }
  | { kind: "opened" | "closed"; socket: number }
  | { kind: "text"; socket: number; text: string }
  /** A frame of video that is not decoded here. */
  | { kind: "video"; socket: number; message: ArrayBuffer }
  /** One that is; `waitedMs`: from its arrival on. */
  | { kind: "picture"; picture: VideoFrame; waitedMs: number; codec: VideoCodec; bytes: number }
  | { kind: "lost" }
  | { kind: "failed"; message: string };

/** See the module. */
export class Endpoint {
  private ws: WebSocket | null = null;
  private decoder: Decoder | null = null;
  /** Bytes of video since the last picture. */
  private bytes = 0;
  private codec: VideoCodec = "H264";

  constructor(private readonly tell: (report: Report, transfer: Transferable[]) => void) {}

  /** Does what it is told. */
  handle(command: Command): void {
    switch (command.kind) {
      case "open":
        this.open(command);
        return;
      case "send":
        if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(command.data);
        return;
      case "close":
        this.close();
        return;
      case "decode":
        this.decode(command.on);
        return;
      case "drawn":
        this.decoder?.drawn();
        return;
    }
  }

  private open({ socket, url, protocol }: Command & { kind: "open" }): void {
    this.close();
    const ws = new WebSocket(url, protocol);
    this.ws = ws;
    ws.binaryType = "arraybuffer";
    ws.onopen = () => this.tell({ kind: "opened", socket }, []);
    ws.onclose = () => this.tell({ kind: "closed", socket }, []);
    ws.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data === "string") this.tell({ kind: "text", socket, text: data }, []);
      else if (data instanceof ArrayBuffer) this.receive(ws, socket, data);
    };
  }

  private close(): void {
    if (this.ws === null) return;
    this.ws.onopen = this.ws.onclose = this.ws.onmessage = null;
    this.ws.close();
    this.ws = null;
  }

  private receive(ws: WebSocket, socket: number, message: ArrayBuffer): void {
    const frame = parseVideo(message);
    if (frame === null) return;
    // Before it is decoded: what waits here is this page's own affair, and bounded.
    ws.send(acknowledgement(frame.number));
    if (this.decoder === null) {
      this.tell({ kind: "video", socket, message }, [message]);
      return;
    }
    this.bytes += message.byteLength;
    this.codec = frame.codec;
    this.decoder.push(frame);
  }

  private decode(on: boolean): void {
    this.decoder?.close();
    this.decoder = null;
    this.bytes = 0;
    if (!on) return;
    this.decoder = new Decoder({
      picture: (picture, waitedMs) => {
        const { codec, bytes } = this;
        this.bytes = 0;
        this.tell({ kind: "picture", picture, waitedMs, codec, bytes }, [picture]);
      },
      lost: () => this.tell({ kind: "lost" }, []),
      failed: (text) => this.tell({ kind: "failed", message: text }, []),
    });
  }
}
