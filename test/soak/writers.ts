/** Two `make`s at once into one cache, of closures that overlap, at many offsets: they make what one makes. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { verify } from '../../src/flow/verify.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { contentOf } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { scratch } from '../clients/kept.ts';
import { granary } from '../granary.ts';
import { seeded } from '../random.ts';
import { smallRoot } from './kills.ts';
import type { Soak } from './run.ts';

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
    const found: string[] = [];
    await verify(directoryStorage(cache), {
      quick: false,
      keys: [],
      sigsNeeded: 0,
      jobs: 1,
      report: event => {
        if ('severity' in event) found.push(event.message);
      },
    });
    assert.deepEqual(found, [], `round ${round}`);
    rmSync(cache, { recursive: true });
  }
  print(
    `${count} times two makes at once, seed ${seed}: ${overlapping} overlapped; each time the cache of one`,
  );
};
