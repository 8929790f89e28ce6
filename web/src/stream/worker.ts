// The worker: an endpoint that speaks with the page by messages.

import { Endpoint, type Command, type Report } from "./endpoint";

/** What of a worker's global scope is used; the library of types for the page does not have it. */
interface Scope {
  onmessage: ((event: MessageEvent<Command>) => void) | null;
  postMessage(report: Report, transfer: Transferable[]): void;
}

const scope = self as unknown as Scope;
const endpoint = new Endpoint((report, transfer) => scope.postMessage(report, transfer));
scope.onmessage = ({ data }) => endpoint.handle(data);
scope.postMessage({ kind: "ready" }, []);
