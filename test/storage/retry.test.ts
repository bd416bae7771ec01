import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { Patience, type RetryPolicy, retryAfterMs, usualRetry } from '../../src/storage/retry.ts';

const trouble = new GranaryError('unavailable', 'Cannot read x');

/** A policy whose time passes at once; `slept` has what was waited. */
function policyOf(changes: Partial<RetryPolicy> = {}, chance = 1) {
  const slept: number[] = [];
  const clock = {
    now: () => 0,
    random: () => chance,
    sleep: async (ms: number) => void slept.push(ms),
  };
  return { slept, policy: { ...usualRetry, ...changes, clock } };
}

async function failures(patience: Patience, count: number, afterMs?: number): Promise<void> {
  for (let at = 0; at < count; at++) await patience.beforeRetry(trouble, afterMs);
}

test('waits double up to the longest', async () => {
  const { slept, policy } = policyOf({ attempts: 7, baseMs: 100, capMs: 1000 });
  await failures(new Patience(policy), 6);
  assert.deepEqual(slept, [100, 200, 400, 800, 1000, 1000]);
});

test('a wait is drawn from the whole of its length', async () => {
  const { slept, policy } = policyOf({ baseMs: 100 }, 0.25);
  await failures(new Patience(policy), 2);
  assert.deepEqual(slept, [25, 50]);
});

test('attempts end, and the error tells how many there were', async () => {
  const { policy } = policyOf({ attempts: 3 });
  await assert.rejects(failures(new Patience(policy), 3), {
    code: 'unavailable',
    message: 'Cannot read x; tried 3 times',
  });
});

test('a server that asks for more time gets it', async () => {
  const { slept, policy } = policyOf({ baseMs: 100 });
  await failures(new Patience(policy), 1, 7000);
  assert.deepEqual(slept, [7000]);
});

test('no wait goes beyond the total: what would is not begun', async () => {
  const { slept, policy } = policyOf({ totalMs: 10_000 });
  const patience = new Patience(policy);
  await failures(patience, 1, 6000);
  await assert.rejects(failures(patience, 1, 6000), { message: /6 s until the next attempt/ });
  assert.deepEqual(slept, [6000]);
});

test('progress gives attempts anew, but no more waiting', async () => {
  const { policy } = policyOf({ attempts: 2, totalMs: 250, baseMs: 100 });
  const patience = new Patience(policy);
  for (let at = 0; at < 2; at++) {
    await failures(patience, 1);
    patience.progress();
  }
  await assert.rejects(failures(patience, 1), { code: 'unavailable' });
});

const now = Date.parse('Sun, 06 Nov 1994 08:49:37 GMT');
for (const [value, ms] of [
  ['0', 0],
  ['120', 120_000],
  [' 3 ', 3000],
  ['Sun, 06 Nov 1994 08:49:40 GMT', 3000],
  ['Sun, 06 Nov 1994 08:00:00 GMT', 0],
  ['-5', undefined],
  ['1.5', undefined],
  ['soon', undefined],
  ['', undefined],
  [undefined, undefined],
] as const)
  test(`Retry-After: ${value} means ${ms} ms`, () => assert.equal(retryAfterMs(value, now), ms));
