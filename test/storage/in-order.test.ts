import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { Budget } from '../../src/storage/budget.ts';
import { putInOrder } from '../../src/storage/in-order.ts';
import { bodyOf, type Entry } from '../../src/storage/storage.ts';

/** Each comes after some of those before it, or after all. */
const batches = fc
  .array(fc.option(fc.array(fc.nat(30), { maxLength: 3 })), { maxLength: 30 })
  .map(all =>
    all.map((before, at): Entry => {
      const after = before?.map(other => `${other % (at + 1)}`).filter(key => key !== `${at}`);
      return { key: `${at}`, body: bodyOf(''), ...(after ? { after } : {}) };
    }),
  );

test('an entry is begun when all that it comes after are there, and few are at once', async () => {
  await fc.assert(
    fc.asyncProperty(batches, fc.integer({ min: 1, max: 8 }), async (entries, jobs) => {
      const there = new Set<string>();
      let atOnce = 0;
      await putInOrder(entries, jobs, async ({ key, after }) => {
        const needed = after ?? entries.slice(0, Number(key)).map(entry => entry.key);
        for (const other of needed) assert.ok(there.has(other), `${key} before ${other}`);
        atOnce += 1;
        assert.ok(atOnce <= jobs);
        for (let turns = Number(key) % 3; turns >= 0; turns--) await setImmediate();
        atOnce -= 1;
        there.add(key);
      });
      assert.equal(there.size, entries.length);
    }),
    { numRuns: 200 },
  );
});

test('each is told of when it is there, also where a later one fails', async () => {
  const shown: string[] = [];
  const entries = ['a', 'b', 'c'].map(key => ({
    key,
    body: bodyOf(''),
    shown: () => shown.push(key),
  }));
  const put = async ({ key }: Entry): Promise<void> => {
    if (key === 'c') throw new Error('no');
    assert.ok(!shown.includes(key));
  };
  await assert.rejects(putInOrder(entries, 2, put), /no/);
  assert.deepEqual(shown, ['a', 'b']);
});

test('what comes after one that failed is not put, and nothing is begun any more', async () => {
  const entries = Array.from(
    { length: 40 },
    (_, at): Entry => ({
      key: `${at}`,
      body: bodyOf(''),
      after: at % 2 === 0 ? [] : [`${at - 1}`],
    }),
  );
  const put: string[] = [];
  const failing = putInOrder(entries, 4, async ({ key }) => {
    await setImmediate();
    if (key === '4') throw new Error('full');
    put.push(key);
  });
  await assert.rejects(failing, { message: 'full' });
  assert.ok(!put.includes('5') && put.length < 12, put.join(' '));
});

test('no more bytes than the budget are spent at once, and what needs more goes alone', async () => {
  const budget = new Budget(100);
  let used = 0;
  const spend = (bytes: number) =>
    budget.spend(bytes, async () => {
      used += bytes;
      assert.ok(used <= 100 || used === bytes, `${used} bytes`);
      await setImmediate();
      used -= bytes;
    });
  await Promise.all([60, 30, 50, 250, 10, 100, 1, 99, 40].map(spend));
  await assert.rejects(budget.spend(100, () => Promise.reject(new Error('gone'))));
  await spend(100); // what failed gave back what it had
  assert.equal(used, 0);
});
