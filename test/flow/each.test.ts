import assert from 'node:assert/strict';
import { test } from 'node:test';
import { each } from '../../src/flow/each.ts';

test('each works on all items, and on no more at once than it may', async () => {
  const seen: number[] = [];
  let [now, most] = [0, 0];
  await each(
    Array.from({ length: 50 }, (_, at) => at),
    4,
    async item => {
      most = Math.max(most, ++now);
      await new Promise(resolve => setTimeout(resolve, item % 3));
      seen.push(item);
      now -= 1;
    },
  );
  assert.equal(seen.length, 50);
  assert.equal(most, 4);
});

test('the first failure stops every lane of each, and is what is thrown', async () => {
  let started = 0;
  const failing = each(
    Array.from({ length: 100 }, (_, at) => at),
    3,
    async item => {
      started += 1;
      await new Promise(resolve => setTimeout(resolve, 1));
      if (item === 4) throw new Error('four');
    },
  );
  await assert.rejects(failing, /four/);
  assert.ok(started < 12, `${started} were started`);
});
