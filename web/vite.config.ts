import { defineConfig } from "vitest/config";

// Relative URLs: the gateway serves the page at any sub-path. No inlined assets: the page's CSP has no `data:` scripts.
export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: true,
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
