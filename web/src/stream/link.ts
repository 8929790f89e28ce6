// The page's end of its WebSocket, which lives in a worker where there can be one.

import { Endpoint, type Command, type Report } from "./endpoint";

/** What a link tells its owner, of its present socket only. */
export interface LinkHooks {
  opened(): void;
  closed(): void;
  text(text: string): void;
  /** Video, and what became of it. */
  stream(report: StreamReport): void;
}

/** What a link tells of video. */
export type StreamReport = Exclude<Report, { kind: "ready" | "opened" | "closed" | "text" }>;

/** See the module. */
export class Link {
  private socket = 0;
  private opened = false;
  private worker: Worker | null = null;
  private endpoint: Endpoint | null = null;
  /** Told before the worker was there; null: it is. */
  private early: Command[] | null = [];

  constructor(private readonly hooks: LinkHooks) {
    try {
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      worker.onmessage = ({ data }: MessageEvent<Report>) => this.hear(data);
      worker.onerror = () => this.stay();
      this.worker = worker;
    } catch {
      this.stay();
    }
  }

  /** Whether what is sent has a chance to arrive. */
  get isOpen(): boolean {
    return this.opened;
  }

  /** Opens a socket; the one before is closed. */
  open(url: URL, protocol: string): void {
    this.socket += 1;
    this.opened = false;
    this.tell({ kind: "open", socket: this.socket, url: url.href, protocol });
  }

  /** Sends a message; false if there is no socket that could take it. */
  send(data: string | Uint8Array<ArrayBuffer>): boolean {
    if (this.opened) this.tell({ kind: "send", data });
    return this.opened;
  }

  /** Closes the socket, of which nothing more is heard. */
  close(): void {
    this.socket += 1;
    this.opened = false;
    this.tell({ kind: "close" });
  }

  /** Decode video, or hand it over as it comes. */
  decode(on: boolean): void {
    this.tell({ kind: "decode", on });
  }

  /** A picture was drawn. */
  drawn(): void {
    this.tell({ kind: "drawn" });
  }

  private tell(command: Command): void {
    if (this.early !== null) this.early.push(command);
    else if (this.worker !== null) this.worker.postMessage(command);
    else this.endpoint?.handle(command);
  }

  /** The worker is there, or never will be: it is told what waited. */
  private begin(): void {
    const early = this.early ?? [];
    this.early = null;
    for (const command of early) this.tell(command);
  }

  /** Without a worker everything happens on the page. One that has begun does not fail. */
  private stay(): void {
    if (this.early === null) return;
    this.worker = null;
    this.endpoint = new Endpoint((report) => this.hear(report));
    this.begin();
  }

  private hear(report: Report): void {
    switch (report.kind) {
      case "ready":
        this.begin();
        return;
      case "opened":
      case "closed":
        if (report.socket !== this.socket) return;
        this.opened = report.kind === "opened";
        if (this.opened) this.hooks.opened();
        else this.hooks.closed();
        return;
      case "text":
        if (report.socket === this.socket) this.hooks.text(report.text);
        return;
      default:
        this.hooks.stream(report);
    }
  }
}
