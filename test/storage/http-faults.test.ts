/** What a server does wrong is an error, or is got over; it is never taken for the value. */
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { collect } from '../../src/bytes.ts';
import { GranaryError } from '../../src/errors.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair } from '../../src/flow/repair-plan.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { httpStorage } from '../../src/storage/http.ts';
import { usualRetry } from '../../src/storage/retry.ts';
import { bodyOf, type Span } from '../../src/storage/storage.ts';
import { contentOf } from '../cache/proof.ts';
import { gallery, Patient } from '../flow/damage.ts';
import { findingsIn } from '../flow/found.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { seeded } from '../random.ts';
import { temporaryFolder } from '../temporary.ts';
import { faults, faulty } from './fault-server.ts';
import { serve } from './http-server.ts';

const quick = {
  stallMs: 100,
  env: { HOME: '/nowhere' },
  retry: { ...usualRetry, clock: { ...usualRetry.clock, sleep: async () => {} } },
};
const seenFaults = Object.keys(faults).filter(name => faults[name]!.isSeen);

for (const seed of [1, 2, 3])
  test(`each get gives just the right bytes, or a GranaryError (seed ${seed})`, async t => {
    const draw = seeded(seed);
    const met = new Set<string>();
    const served = await serve(
      temporaryFolder(),
      faulty(seenFaults, draw, name => met.add(name)),
    );
    const values = [0, 1, 1000, 100_000, 300_000, 1_000_000].map(size =>
      Buffer.from(Array.from({ length: size }, () => Math.floor(draw() * 256))),
    );
    for (const [at, value] of values.entries()) await served.behind.put(`nar/${at}`, bodyOf(value));
    const storage = httpStorage(served.url, quick);
    const ends = { right: 0, refused: 0 };
    for (let round = 0; round < 100; round++) {
      const at = Math.floor(draw() * values.length);
      const value = values[at]!;
      const span: Span | undefined =
        draw() < 0.3
          ? {
              start: Math.floor(draw() * value.length),
              length: Math.floor(draw() * value.length * 1.5),
            }
          : undefined;
      const expected = span ? value.subarray(span.start, span.start + span.length) : value;
      try {
        const stat = await storage.head(`nar/${at}`);
        assert.equal(stat?.size, value.length);
        const found = await storage.get(`nar/${at}`, span);
        const bytes = await collect(found!.bytes, 1 << 24);
        assert.ok(bytes?.equals(expected), `nar/${at} ${JSON.stringify(span)}`);
        assert.equal(found!.size ?? expected.length, expected.length);
        ends.right += 1;
      } catch (error) {
        if (!(error instanceof GranaryError)) throw error;
        assert.match(error.message, /^Cannot read http:\/\/127.0.0.1:\d+\/cache\/nar\/\d/);
        ends.refused += 1;
      }
    }
    t.diagnostic(`${ends.right} right, ${ends.refused} refused, ${met.size} kinds of fault`);
    assert.ok(ends.right > 0 && ends.refused > 0);
    assert.ok(met.size > seenFaults.length / 2);
  });

const healthy = await makeHealthy(temporaryFolder());

function damaged(): string {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  const patient = new Patient(healthy, dir);
  for (const what of ['a flipped bit in a NAR file', 'no NAR file']) gallery[what]!.do(patient);
  return dir;
}

async function repaired(dir: string, url: string) {
  const storage = directoryStorage(dir);
  const options = { jobs: 2, drop: false, report: () => {} };
  const plan = await planRepair(storage, [{ cache: httpStorage(url, quick) }], options);
  return executeRepair(plan, storage, options);
}

test('a damaged cache is healed over HTTP, to the same bytes', async () => {
  const dir = damaged();
  const { url } = await serve(healthy.cache);
  const { lost, failed } = await repaired(dir, url);
  assert.deepEqual([lost, failed.size], [[], 0]);
  assert.deepEqual(contentOf(dir), contentOf(healthy.cache));
});

for (const seed of [1, 2, 3, 4])
  test(`what a faulty server gives is proven before it is put in (seed ${seed})`, async () => {
    const dir = damaged();
    const handler = faulty(Object.keys(faults), seeded(seed), () => {});
    const { url } = await serve(healthy.cache, handler);
    const { healed } = await repaired(dir, url);
    const left = (await findingsIn(dir)).filter(({ severity }) => severity === 'damage');
    for (const { path } of left) assert.ok(!healed.includes(path!), `${path} is not healed`);
  });
