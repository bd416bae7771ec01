/** A small sample of what `npm run fuzz` does. */
import { test } from 'node:test';
import { fuzz } from './fuzzer.ts';

test('hostile input is accepted or refused by a GranaryError, and in time', async t => {
  await fuzz({ seed: 1, until: { rounds: 2 } }, line => t.diagnostic(line));
});
