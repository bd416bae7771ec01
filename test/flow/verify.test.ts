import assert from 'node:assert/strict';
import { cpSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Finding, findingTable } from '../../src/flow/findings.ts';
import { executeRepair } from '../../src/flow/repair.ts';
import { planRepair, type RepairSource } from '../../src/flow/repair-plan.ts';
import { type VerifyOptions, verify } from '../../src/flow/verify.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { contentOf } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { gallery, Patient } from './damage.ts';
import { makeHealthy } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());

function copyOf(): string {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return dir;
}

async function findingsIn(dir: string, options: Partial<VerifyOptions> = {}): Promise<Finding[]> {
  const found: Finding[] = [];
  await verify(directoryStorage(dir), {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    jobs: 1,
    report: event => {
      if ('severity' in event) found.push(event);
    },
    ...options,
  });
  return found;
}

const ids = (found: readonly Finding[]): string[] => found.map(each => each.id).sort();

test('a whole cache has nothing wrong with it', async () => {
  const keys = [healthy.key.publicKey];
  assert.deepEqual(await findingsIn(healthy.cache, { keys, sigsNeeded: 1 }), []);
});

for (const [what, damage] of Object.entries(gallery)) {
  test(`verify finds ${what}, and nothing else`, async () => {
    const dir = copyOf();
    damage.do(new Patient(healthy, dir));
    assert.deepEqual(ids(await findingsIn(dir)), [...damage.finds].sort());
    assert.deepEqual(
      ids(await findingsIn(dir, { quick: true })),
      [...(damage.quick ?? damage.finds)].sort(),
    );
  });

  if (damage.heals)
    for (const from of ['the store', 'a second cache'] as const)
      test(`repair heals ${what}, from ${from}`, async () => {
        const dir = copyOf();
        damage.do(new Patient(healthy, dir));
        const sources: RepairSource[] =
          from === 'the store'
            ? [{ store: healthy.store }, { store: healthy.added }]
            : [{ cache: directoryStorage(healthy.cache) }];
        const storage = directoryStorage(dir);
        const options = { storeDir: defaultStoreDir, jobs: 1, drop: false, report: () => {} };
        const plan = await planRepair(storage, sources, options);
        const { lost, failed } = await executeRepair(plan, storage, options);
        assert.deepEqual([lost, [...failed]], [[], []]);
        const left = (await findingsIn(dir)).filter(found => found.id !== 'nar-orphan');
        assert.deepEqual(left, []);
        if (damage.heals === 'same' && from === 'a second cache')
          assert.deepEqual(contentOf(dir), contentOf(healthy.cache));
      });
}

test('every finding of the table is in the gallery, or is about signatures', () => {
  const reached = new Set(Object.values(gallery).flatMap(damage => damage.finds));
  const missing = Object.keys(findingTable).filter(id => !reached.has(id as never));
  assert.deepEqual(missing, ['signature-wrong', 'signature-missing']);
});

test('signatures: missing, wrong under a trusted name, not needed by what is content-addressed', async () => {
  const dir = copyOf();
  const patient = new Patient(healthy, dir);
  patient.edit('base', text => text.replace(/^Sig: .*\n/m, ''));
  patient.edit('plain', text => text.replace(/^Sig: .*\n/m, ''));
  patient.edit('app', text => text.replace(/^Sig: (.*?):./m, 'Sig: $1:+'));
  const keys = [healthy.key.publicKey];
  const found = await findingsIn(dir, { keys, sigsNeeded: 1, quick: true });
  const { base, app } = healthy.paths;
  assert.deepEqual(
    found.map(({ id, path }) => [id, path]).sort(),
    [
      ['signature-missing', base],
      ['signature-missing', app],
      ['signature-wrong', app],
    ].sort(),
  );
  const other = parseSecretKey(generateKey('other-1').secret, 'x').publicKey;
  const two = await findingsIn(copyOf(), { keys: [...keys, other], sigsNeeded: 2, quick: true });
  assert.deepEqual([...new Set(ids(two))], ['signature-missing']);
});

test('with another cache that has the rest, a cache with holes is whole', async () => {
  const dir = copyOf();
  gallery['a reference without a narinfo']!.do(new Patient(healthy, dir));
  const also = directoryStorage(healthy.cache);
  assert.deepEqual(ids(await findingsIn(dir, { also })), ['listing-orphan']);
});

test('with roots, only their closures are looked at', async () => {
  const dir = copyOf();
  gallery['a NAR cut short']!.do(new Patient(healthy, dir));
  const { app, lib, twin } = healthy.paths;
  assert.deepEqual(await findingsIn(dir, { roots: [lib, twin] }), []);
  assert.notDeepEqual(await findingsIn(dir, { roots: [app] }), []);
  await assert.rejects(findingsIn(dir, { roots: [`/nix/store/${'8'.repeat(32)}-x`] }), {
    code: 'absent',
  });
});

test('a bomb is not decompressed beyond what its narinfo says', async () => {
  const dir = copyOf();
  const { zstdCompressSync } = await import('node:zlib');
  const bomb = Buffer.concat(
    Array.from({ length: 400 }, () => zstdCompressSync(Buffer.alloc(1 << 22))),
  );
  new Patient(healthy, dir).repack(
    'app',
    nar => nar,
    () => bomb,
  );
  const before = process.resourceUsage().maxRSS;
  assert.deepEqual(ids(await findingsIn(dir)), ['nar-size-wrong']);
  assert.ok(process.resourceUsage().maxRSS - before < 100_000, 'it took memory');
});

test('through the command line: exit 1 with a line for each finding, 0 when whole, 2 and 3 when there is no cache', async () => {
  const dir = copyOf();
  assert.equal((await granary(['verify', dir])).code, 0);
  writeFileSync(join(dir, 'thesis.txt'), '');
  assert.equal((await granary(['verify', dir])).code, 0);
  assert.equal((await granary(['verify', '--strict', dir])).code, 1);
  gallery['a NAR cut short']!.do(new Patient(healthy, dir));
  const { code, stdout } = await granary(['verify', dir]);
  assert.equal(code, 1);
  assert.match(stdout, /^damage nar-malformed: nar\/.* is not whole: .*; run "granary repair"/m);
  const lines = (await granary(['verify', '--json', dir])).stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  assert.deepEqual(
    lines.map(line => line.type),
    ['finding', 'finding', 'finding', 'finding', 'summary'],
  );
  assert.equal((await granary(['verify', '/no/such/cache'])).code, 3);
  assert.equal((await granary(['verify', temporaryFolder()])).code, 2);
  assert.equal((await granary(['verify', join(dir, 'thesis.txt')])).code, 2);
  assert.equal((await granary(['verify'])).code, 2);
  assert.ok(existsSync(dir));
});

test('repair changes no byte and no time of a whole cache', async () => {
  const dir = copyOf();
  const before = contentOf(dir);
  const { code, stdout } = await granary(['repair', '--from', healthy.cache, dir]);
  assert.equal(code, 0);
  assert.match(stdout, /is whole: nothing to do/);
  assert.deepEqual(contentOf(dir), before);
});
