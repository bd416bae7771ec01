/** A cache behind HTTP into a store: from a server that behaves, and from one that does wrong what it can. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { executeImport, type ImportSummary } from '../../src/flow/import.ts';
import { planImport } from '../../src/flow/import-plan.ts';
import { cacheSupply } from '../../src/flow/supply.ts';
import { httpStorage } from '../../src/storage/http.ts';
import { usualRetry } from '../../src/storage/retry.ts';
import type { WritableStore } from '../../src/store/store.ts';
import { seeded } from '../random.ts';
import { faults, faulty } from '../storage/fault-server.ts';
import { serve } from '../storage/http-server.ts';
import { receivingDaemon } from '../store/receiving-daemon.ts';
import { temporaryFolder } from '../temporary.ts';
import { makeHealthy } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());
const { app, base, lib, plain, twin } = healthy.paths;
const quick = {
  stallMs: 100,
  env: { HOME: '/nowhere' },
  retry: { ...usualRetry, clock: { ...usualRetry.clock, sleep: async () => {} } },
};

async function run(
  url: string,
  roots: readonly string[],
  store: WritableStore,
): Promise<ImportSummary> {
  const supply = await cacheSupply(httpStorage(url, quick), roots);
  const plan = await planImport(supply, store, { noClosure: false, exclude: nothingExcluded });
  return executeImport(plan, supply, store, { keys: [], report: () => {} });
}

test('the closures of roots go from a cache behind HTTP into a store', async () => {
  const { url } = await serve(healthy.cache);
  const daemon = await receivingDaemon();
  const { added, failed } = await run(url, [app, twin, plain], daemon.store);
  assert.deepEqual([added, failed.size], [5, 0]);
  await assert.rejects(run(url, ['9'.repeat(32)], daemon.store), { code: 'absent' });
  const all = cacheSupply(httpStorage(url, quick), undefined);
  const wish = { noClosure: false, exclude: nothingExcluded };
  await assert.rejects(planImport(await all, daemon.store, wish), {
    code: 'usage',
    message: /cannot be listed; name ROOTs/,
  });
});

test('from a server that does wrong what it can goes nothing that is wrong, and the next run completes it', async () => {
  const ends: Record<string, number> = {};
  for (let seed = 1; seed <= 60; seed++) {
    const draw = seeded(seed);
    let isFaulty = true;
    const names = Object.keys(faults).filter(() => draw() < 0.5);
    const wrong = faulty([...names, 'a reset'], draw, () => {});
    const served = await serve(healthy.cache, (request, reply, rest) =>
      isFaulty && /\/nar\//.test(request.url!) ? wrong(request, reply, rest) : rest.pass(),
    );
    const daemon = await receivingDaemon(); // it proves each NAR itself
    const end = await run(served.url, [app], daemon.store).catch((error: unknown) => {
      assert.ok(error instanceof GranaryError, String(error));
      return undefined;
    });
    for (const error of end?.failed.values() ?? [])
      assert.match(error.message, /^Cannot (copy|read) /);
    const kind = end === undefined ? 'thrown' : end.failed.size > 0 ? 'in part' : 'complete';
    ends[kind] = (ends[kind] ?? 0) + 1;
    assert.equal(end?.added ?? daemon.valid.size, daemon.valid.size);
    isFaulty = false;
    const { failed } = await run(served.url, [app], daemon.store);
    assert.deepEqual(
      [failed.size, [...daemon.valid.keys()]],
      [0, [base, lib, app]],
      `seed ${seed}`,
    );
  }
  assert.ok(ends['in part']! > 0 && ends.complete! > 0, JSON.stringify(ends));
});
