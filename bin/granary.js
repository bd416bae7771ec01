#!/usr/bin/env node
// Plain old JavaScript, so that an old Node can still say what is wrong.

var major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    'granary: Cannot run on Node ' +
      process.versions.node +
      ': it needs Node 24 or newer. Install one, or in a clone of the project run "npm ci" and then "npx granary".\n',
  );
  process.exit(2);
}
if (major >= 24) run();

async function run() {
  const { existsSync } = await import('node:fs');
  quietAboutSqlite();
  // In a clone there is the source, which Node runs as it is; in a package what was compiled of it.
  const source = new URL('../src/cli/main.ts', import.meta.url);
  const compiled = new URL('../dist/cli/main.js', import.meta.url);
  const { main } = await import(existsSync(source) ? source.href : compiled.href);
  process.exitCode = await main(process.argv.slice(2));
}

/** Node 24 calls node:sqlite experimental each time; whoever runs a command can do nothing about it. */
function quietAboutSqlite() {
  const warn = process.emitWarning;
  process.emitWarning = (warning, ...rest) => {
    if (!/SQLite is an experimental feature/.test(String(warning)))
      warn.call(process, warning, ...rest);
  };
}
