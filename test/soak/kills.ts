/** `make` is killed at many moments; after each the cache must be whole, and the next run complete it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { contentOf, proofOf, temporariesIn } from '../cache/proof.ts';
import { gitCorpus } from '../clients/corpus.ts';
import { granary, startGranary } from '../granary.ts';
import { seeded } from '../random.ts';
import type { Soak } from './run.ts';

export const kills: Soak = async ({ seed, count, print }) => {
  const { url, root } = await gitCorpus();
  const random = seeded(seed);
  const folder = mkdtempSync(join(tmpdir(), 'granary-kills-'));
  try {
    const make = (to: string) => ['make', '--to', to, '--from', url, '--level', '1', root];
    const whole = join(folder, 'whole');
    const start = Date.now();
    assert.equal((await granary(make(whole))).code, 0);
    const duration = Date.now() - start;
    const expected = contentOf(whole);
    const tally = {
      'before any narinfo': 0,
      'between narinfos': 0,
      'after the last': 0,
      temporaries: 0,
    };
    for (let round = 0; round < count; round++) {
      const cache = join(folder, 'cache');
      mkdirSync(cache);
      const child = startGranary(make(cache));
      const closed = once(child, 'close');
      await setTimeout(random() * duration);
      child.kill('SIGKILL');
      await closed;
      const { faults, narInfos } = await proofOf(cache);
      assert.deepEqual(faults, [], `round ${round}: a killed run left a broken cache`);
      if (narInfos === 0) tally['before any narinfo'] += 1;
      else if (narInfos < 47) tally['between narinfos'] += 1;
      else tally['after the last'] += 1;
      tally.temporaries += temporariesIn(cache).length;
      const again = await granary(make(cache));
      assert.equal(again.code, 0, again.stderr);
      assert.deepEqual(
        contentOf(cache),
        expected,
        `round ${round}: the next run gave another cache`,
      );
      rmSync(cache, { recursive: true });
    }
    assert.ok(existsSync(whole));
    print(`${count} kills over ${duration} ms, seed ${seed}: ${JSON.stringify(tally)}`);
    print('each left a whole cache, and the next run made it byte-identical');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
