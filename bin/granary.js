#!/usr/bin/env node
// Plain old JavaScript, so that an old Node can still say what is wrong; the rest is in start.js.

var major = Number(process.versions.node.split('.')[0]);
if (major < 24) {
  process.stderr.write(
    'granary: Cannot run on Node ' +
      process.versions.node +
      ': it needs Node 24 or newer. Install one, or in a clone of the project run "npm ci" and then "npx granary".\n',
  );
  process.exit(2);
}
process.exitCode = 70; // until main says otherwise: an end that nobody decided is a bug
import('./start.js');
