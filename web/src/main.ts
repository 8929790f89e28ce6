import { App } from "./app";

declare global {
  interface Window {
    /** Read-only, for tests. */
    deskgate: { state(): unknown; stats(): unknown };
  }
}

const app = new App();
window.deskgate = Object.freeze({ state: () => app.state(), stats: () => app.stats() });
app.start();
