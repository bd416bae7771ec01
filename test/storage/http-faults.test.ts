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

test('many gets at once over few faulty connections all end, and leave none taken', async () => {
  const draw = seeded(5);
  const served = await serve(
    temporaryFolder(),
    faulty(seenFaults, draw, () => {}),
  );
  const value = Buffer.alloc(500_000, 'granary ');
  await served.behind.put('x', bodyOf(value));
  const storage = httpStorage(served.url, { ...quick, connections: 3 });
  const ends = await Promise.all(
    Array.from({ length: 60 }, async () => {
      try {
        const found = await storage.get('x');
        return (await collect(found!.bytes, 1 << 24))?.equals(value);
      } catch (error) {
        return error instanceof GranaryError;
      }
    }),
  );
  assert.ok(ends.every(Boolean));
});

test('a put over faulty connections is told truly, and never leaves a mixture', async () => {
  const draw = seeded(6);
  const dir = temporaryFolder();
  const served = await serve(dir, async (request, reply, { pass }) => {
    const luck = draw();
    if (luck < 0.2) request.socket.resetAndDestroy();
    else if (luck < 0.3) reply.writeHead(503, { 'retry-after': '1' }).end();
    else if (luck < 0.4) request.once('data', () => request.socket.destroy());
    else if (luck < 0.5)
      request.pause(); // and no answer
    else await pass();
  });
  const storage = httpStorage(served.url, { ...quick, retry: { ...quick.retry, attempts: 2 } });
  let old: Buffer = Buffer.alloc(0);
  await served.behind.put('x', bodyOf(old));
  const ends = { put: 0, refused: 0 };
  for (let round = 0; round < 60; round++) {
    const value = Buffer.alloc(Math.floor(draw() * 600_000), `${round} `);
    const isPut = await storage.put('x', bodyOf(value)).then(
      () => true,
      error => {
        assert.ok(error instanceof GranaryError, error);
        return false;
      },
    );
    await Array.fromAsync(served.behind.list!(''));
    const there = (await collect((await served.behind.get('x'))!.bytes, 1 << 24))!;
    assert.ok(there.equals(value) || (!isPut && there.equals(old)), `round ${round}`);
    old = there;
    ends[isPut ? 'put' : 'refused'] += 1;
  }
  assert.ok(ends.put > 0 && ends.refused > 0);
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

test('what a faulty server gives is proven before it is put in', async t => {
  const ends = { healed: 0, left: 0 };
  for (let seed = 1; seed <= 8; seed++) {
    const dir = damaged();
    const handler = faulty(Object.keys(faults), seeded(seed), () => {});
    const { url } = await serve(healthy.cache, handler);
    const { healed } = await repaired(dir, url);
    const left = (await findingsIn(dir)).filter(({ severity }) => severity === 'damage');
    for (const { path } of left) assert.ok(!healed.includes(path!), `${path} is not healed`);
    ends.healed += healed.length;
    ends.left += left.length;
  }
  t.diagnostic(`${ends.healed} healed, ${ends.left} left`);
  assert.ok(ends.healed > 0 && ends.left > 0);
});
