// Debian's coturn: a TURN server of others.

import { folder } from "./run.mjs";

const PORT = 3478;
const SECRET = "shared";

export class Coturn {
  /** Starts one at the address of a namespace, and relays from there. */
  static async start(namespace) {
    const { address } = namespace;
    const home = folder();
    const coturn = new Coturn();
    coturn.program = namespace.start("turnserver", [
      "--no-cli", "--no-tls", "--no-dtls", "--log-file=stdout", "--simple-log", `--pidfile=${home}/pid`, `--userdb=${home}/db`,
      `--listening-ip=${address}`, `--relay-ip=${address}`, "--realm=others", "--use-auth-secret", `--static-auth-secret=${SECRET}`,
    ]);
    await coturn.program.until("it answers", async () => {
      const client = namespace.start("timeout", ["1", "turnutils_stunclient", address]);
      await client.ended;
      return client.child.exitCode === 0;
    });
    return coturn;
  }

  /** What a gateway needs that sends its viewers to the coturn at `address`. */
  static settings(address, transports) {
    const args = transports.flatMap((transport) => ["--turn", `turn:${address}:${PORT}?transport=${transport}`]);
    return { args, env: { DESKGATE_TURN_SHARED_SECRET: SECRET } };
  }

  get pid() {
    return this.program.pid;
  }

  async close() {
    await this.program.kill();
  }
}
