/** A small sample of every soak. */
import { test } from 'node:test';
import { differential } from '../clients/differential.ts';
import { whyNoClients } from '../clients/nix.ts';
import { faultyCopy } from './faulty-copy.ts';
import { kills } from './kills.ts';
import { many } from './many.ts';
import { memory } from './memory.ts';
import { mirror } from './mirror.ts';
import { writers } from './writers.ts';

const skip = await whyNoClients();

test('make, sign and repair that are killed leave a sound cache, which the next run completes', {
  skip,
}, async t => {
  await kills({ seed: 20, count: 5, print: line => t.diagnostic(line) });
});

test('two makes at once into one cache make what one makes', { skip }, async t => {
  await writers({ seed: 20, count: 2, print: line => t.diagnostic(line) });
});

test('make stays under 256 MiB on a file bigger than that', async t => {
  await memory({ seed: 1, count: 400, print: line => t.diagnostic(line) });
});

test('what Nix reads we read alike, what it refuses we refuse, but for a table', {
  skip,
}, async t => {
  await differential({ seed: 20, count: 300, print: line => t.diagnostic(line) });
});

test('many paths are signed and verified as Nix signs and verifies them, under 256 MiB', {
  skip,
}, async t => {
  await many({ seed: 20, count: 300, pairs: 1, print: line => t.diagnostic(line) });
});

test('closures of a few roots are mirrored from a big upstream in little memory', async t => {
  await mirror({ seed: 20, count: 20_000, print: line => t.diagnostic(line) });
});

test('a copy from a faulty server ends sound, and the next completes it', async t => {
  await faultyCopy({ seed: 20, count: 6, print: line => t.diagnostic(line) });
});
