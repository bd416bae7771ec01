/**
 * Copies from a server that does wrong what it can, by seed: each run ends complete, or with an error that says
 * what failed; the target is sound after each; and as soon as the server behaves, the next run completes it. Logs are
 * not looked at: nothing tells whether the text of one is whole.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { GranaryError } from '../../src/errors.ts';
import { executeCopy } from '../../src/flow/copy.ts';
import { planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { httpStorage } from '../../src/storage/http.ts';
import { usualRetry } from '../../src/storage/retry.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { contentOf, proofOf, temporariesIn } from '../cache/proof.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { seeded } from '../random.ts';
import { faults, faulty } from '../storage/fault-server.ts';
import { serve } from '../storage/http-server.ts';
import { temporaryFolder } from '../temporary.ts';
import type { Soak } from './run.ts';

const quick = {
  stallMs: 100,
  env: { HOME: '/nowhere' },
  retry: { ...usualRetry, clock: { ...usualRetry.clock, sleep: async () => {} } },
};

/** Other bytes in a NAR its hash tells; in a narinfo or listing nothing does, but a signature. */
const isSeenInText = (name: string): boolean =>
  !['other bytes', 'a length that is too short'].includes(name);

export const faultyCopy: Soak = async ({ seed, count, print }) => {
  const healthy = await makeHealthy(temporaryFolder());
  const { 'nix-cache-info': _, ...expected } = contentOf(healthy.cache);
  const ends: Record<string, number> = {};
  const met = new Set<string>();
  for (let run = 0; run < count; run++) {
    const draw = seeded(seed + run);
    let isFaulty = true;
    const names = ['a reset', 'a web page', ...Object.keys(faults).filter(() => draw() < 0.5)];
    const wrong = faulty(names, draw, name => met.add(name));
    const seen = faulty(names.filter(isSeenInText), draw, name => met.add(name));
    const served = await serve(healthy.cache, (request, reply, rest) =>
      isFaulty ? (/\/nar\//.test(request.url!) ? wrong : seen)(request, reply, rest) : rest.pass(),
    );
    const to = join(temporaryFolder(), 'copy');
    const end = await copied(httpStorage(served.url, quick), to, healthy.paths.app);
    ends[end] = (ends[end] ?? 0) + 1;
    if (end !== 'nothing was written') {
      assert.deepEqual((await proofOf(to)).faults, [], `run ${run}`);
      assert.deepEqual(temporariesIn(to), [], `run ${run}`);
    }
    isFaulty = false;
    const last = await copied(httpStorage(served.url, quick), to, healthy.paths.app);
    assert.equal(last, 'complete', `run ${run}, on a server that behaves`);
    const { 'nix-cache-info': __, ...files } = contentOf(to);
    for (const [name, sum] of Object.entries(files).filter(([name]) => !name.startsWith('log/')))
      assert.equal(sum, expected[name], `run ${run}: ${name}`);
  }
  print(
    `${count} copies from a faulty server, seed ${seed}, ${met.size} kinds of fault: ${JSON.stringify(ends)}`,
  );
  assert.ok(met.size > 10 || count < 20);
};

/** How a copy ended. */
async function copied(source: Storage, to: string, root: string): Promise<string> {
  const target = directoryStorage(to, { flush: false });
  const wish = {
    roots: [root],
    noClosure: false,
    exclude: nothingExcluded,
    prefer: 'nobody',
  } as const;
  let isWritten = false;
  try {
    const plan = await planCopy(source, target, wish);
    isWritten = true;
    const { failed, held } = await executeCopy(plan, source, target, {
      cacheInfo: {},
      keys: [],
      link: false,
      closedBy: [],
      jobs: 2,
      report: () => {},
    });
    if (failed.size + held.length === 0) return 'complete';
    for (const { message } of failed.values()) assert.match(message, /^Cannot (copy|read) /);
    return 'some paths failed';
  } catch (error) {
    if (!(error instanceof GranaryError)) throw error;
    assert.match(error.message, /^Cannot /);
    return isWritten ? 'stopped' : 'nothing was written';
  }
}
