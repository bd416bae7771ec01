/** Runs the command: the source in a clone, which Node runs as it is, or in a package what was compiled of it. */
import { existsSync, readFileSync } from 'node:fs';

const warn = process.emitWarning;
process.emitWarning = (warning, ...rest) => {
  // Node 24 calls node:sqlite, and up to 24.7 matchesGlob, experimental; who runs a command can do nothing about it.
  if (!/(SQLite|glob) is an experimental feature/.test(String(warning)))
    warn.call(process, warning, ...rest);
};

const args = process.argv.slice(2);
if (args[0] === '--version') {
  // What is asked for most often needs nothing of the program, and so takes half the time.
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  process.stdout.write(`granary ${version}\n`);
  process.exitCode = 0;
} else {
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const compiled = new URL('../dist/main.js', import.meta.url);
  const { main } = await import(existsSync(source) ? source.href : compiled.href);
  process.exitCode = await main(args);
}
