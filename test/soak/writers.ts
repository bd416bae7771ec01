/** Two `make`s at once into one cache, of closures that overlap, at many offsets: they make what one makes. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { contentOf } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { scratch } from '../clients/kept.ts';
import { findingsIn } from '../flow/found.ts';
import { granary } from '../granary.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';
import { smallRoot } from './victims.ts';

export const writers: Soak = async ({ seed, count, print }) => {
  const corpus = await gitCorpus();
  const roots = [smallRoot(corpus), corpus.paths.find(path => path.includes('-libldap2-'))!];
  const make = (to: string, jobs: number, ...these: string[]) =>
    granary(['make', '--to', to, '--from', corpus.url, '--jobs', String(jobs), ...these]);
  const folder = scratch();
  const one = join(folder, 'one');
  const start = Date.now();
  assert.equal((await make(one, 2, ...roots)).code, 0);
  const duration = Date.now() - start;
  const expected = contentOf(one);
  const random = seeded(seed);
  let overlapping = 0;
  for (let round = 0; round < count; round++) {
    const cache = join(folder, 'cache');
    const offset = Math.floor(random() * duration);
    const begun = Date.now();
    const first = make(cache, 1, roots[0]!);
    const second = setTimeout(offset).then(() => make(cache, 2, ...roots));
    first.then(() => {
      overlapping += Date.now() - begun > offset ? 1 : 0;
    });
    for (const { code, stderr } of await Promise.all([first, second]))
      assert.equal(code, 0, `round ${round}: ${stderr}`);
    assert.deepEqual(contentOf(cache), expected, `round ${round}: another cache`);
    assert.deepEqual(await findingsIn(cache), [], `round ${round}`);
    rmSync(cache, { recursive: true });
  }
  print(
    `${count} times two makes at once, seed ${seed}: ${overlapping} overlapped; each time the cache of one`,
  );
};
