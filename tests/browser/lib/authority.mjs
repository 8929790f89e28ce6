// A certificate authority that nobody trusts but the browsers that are told to.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { folder, run } from "./run.mjs";

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

export class Authority {
  static async create() {
    const authority = new Authority();
    authority.folder = folder();
    await run("openssl", ["req", "-x509", ...KEY, "-days", "2", "-subj", "/CN=Deskgate test authority", "-keyout", authority.#file("ca.key"), "-out", authority.#file("ca.crt")]);
    return authority;
  }

  #file(name) {
    return path.join(this.folder, name);
  }

  /** Flags of a gateway with a certificate for these names, such as `DNS:localhost`. */
  async flags(...names) {
    const [certificate, key] = [this.#file("tls.crt"), this.#file("tls.key")];
    const signed = ["-CA", this.#file("ca.crt"), "-CAkey", this.#file("ca.key")];
    const extensions = ["-addext", `subjectAltName=${names.join(",")}`, "-addext", "basicConstraints=critical,CA:FALSE"];
    await run("openssl", ["req", "-x509", ...KEY, ...signed, ...extensions, "-days", "1", "-subj", "/CN=gateway", "-keyout", key, "-out", certificate]);
    return ["--tls-cert", certificate, "--tls-key", key];
  }

  /** The environment of a browser whose own store has this authority. */
  async home() {
    const home = folder();
    const store = path.join(home, ".pki/nssdb");
    mkdirSync(store, { recursive: true });
    const certutil = (...args) => run("certutil", ["-d", `sql:${store}`, ...args]);
    await certutil("-N", "--empty-password");
    await certutil("-A", "-t", "C,,", "-n", "deskgate-test", "-i", this.#file("ca.crt"));
    return { HOME: home, XDG_DATA_HOME: path.join(home, ".local/share"), XDG_CONFIG_HOME: path.join(home, ".config") };
  }
}
