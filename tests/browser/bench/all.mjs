// Every measure that needs the browser tests' networks, one after the other: `npm run bench`, with `-- --quick` for a
// check of the benches rather than a result, with a measure's name for that alone.

const MEASURES = ["first-frame", "turn-cpu", "narrow", "crowd"];

const named = process.argv.slice(2).filter((word) => !word.startsWith("--"));
for (const name of named.length > 0 ? named : MEASURES) {
  await import(`./${name}.mjs`);
  process.stdout.write("\n");
}
