/** A small sample of every soak. */
import { test } from 'node:test';
import { differential } from '../clients/differential.ts';
import { whyNoClients } from '../clients/nix.ts';
import { kills } from './kills.ts';
import { memory } from './memory.ts';

const skip = await whyNoClients();

test('a make that is killed leaves a whole cache, which the next completes', { skip }, async t => {
  await kills({ seed: 20, count: 4, print: line => t.diagnostic(line) });
});

test('make stays under 256 MiB on a file bigger than that', async t => {
  await memory({ seed: 1, count: 400, print: line => t.diagnostic(line) });
});

test('what Nix reads we read alike, what it refuses we refuse, but for a table', {
  skip,
}, async t => {
  await differential({ seed: 20, count: 300, print: line => t.diagnostic(line) });
});
