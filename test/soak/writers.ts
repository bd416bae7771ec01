/**
 * Two `make`s at once into one cache, of closures that overlap, with other numbers of threads and at many
 * offsets: both succeed, and the cache is the one that a single `make` of all makes.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { contentOf } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { remove, scratch } from '../clients/kept.ts';
import { findingsIn } from '../flow/found.ts';
import { granary } from '../granary.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';
import { smallRoot } from './victims.ts';

export const writers: Soak = async ({ seed, count, print }) => {
  const corpus = await gitCorpus();
  const a = smallRoot(corpus);
  const b = corpus.paths.find(path => path.includes('-librtmp1-'))!; // half of a's closure, and ten more
  const make = (to: string, jobs: number, roots: readonly string[]) =>
    granary(['make', '--to', to, '--from', corpus.url, '--jobs', String(jobs), ...roots]);
  const folder = scratch();
  const one = join(folder, 'one');
  const start = Date.now();
  assert.equal((await make(one, 2, [a, b])).code, 0);
  const duration = Date.now() - start;
  const expected = contentOf(one);
  const random = seeded(seed);
  let overlapping = 0;
  for (let round = 0; round < count; round++) {
    const cache = join(folder, 'cache');
    const tasks = [
      { jobs: 1, roots: [a] },
      { jobs: 2, roots: random() < 0.5 ? [b] : [a, b] },
    ];
    if (random() < 0.5) tasks.reverse();
    const offset = Math.floor(random() * duration);
    const [first, second] = tasks.map(async ({ jobs, roots }, at) => {
      await setTimeout(at * offset);
      return make(cache, jobs, roots);
    });
    const isOver = first!.then(() => true);
    if (!(await Promise.race([isOver, setTimeout(offset, false)]))) overlapping += 1;
    for (const { code, stderr } of await Promise.all([first!, second!]))
      assert.equal(code, 0, `round ${round}: ${stderr}`);
    assert.deepEqual(contentOf(cache), expected, `round ${round}: another cache`);
    assert.deepEqual(await findingsIn(cache), [], `round ${round}`);
    remove(cache);
  }
  if (count >= 10) assert.ok(overlapping > 0, 'no two of them ran at once');
  print(
    `${count} times two makes at once, seed ${seed}: ${overlapping} overlapped; each time the cache of one`,
  );
};
