/** Caches that real Nix wrote: verify finds what format.md says is missing there, and nothing else. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { verify } from '../../src/flow/verify.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { findingsIn, idsOf } from '../flow/found.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { program } from '../granary.ts';
import { manyPaths } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();
const skipMounts = skip || (await whyNoReadOnlyMounts());

/** The folders that no Nix so far makes, and those that it leaves empty. */
const frame = ['folder-missing', 'folder-missing', 'folder-unkept', 'folder-unkept'];

describe('a cache that real Nix wrote', { skip }, () => {
  for (const age of ages)
    test(`by copy, ${age}: only its folders are not for every Nix`, async () => {
      const many = await manyPaths(100);
      const cache = join(scratch(), 'cache');
      const to = `file://${cache}?compression=zstd&write-nar-listing=true`;
      const client = await nix(age);
      await client.check('nix', ['copy', '--to', to, many.root], { store: many });
      const found = await findingsIn(cache, { jobs: 2 });
      assert.deepEqual(idsOf(found), frame);
      const missing = found.filter(({ id }) => id === 'folder-missing').map(({ key }) => key);
      assert.deepEqual(missing.sort(), ['build-trace-v2', 'debuginfo']);
    });

  for (const age of ages)
    test(`of content-addressed paths of every kind, ${age}: each is what its address says`, async () => {
      const store = freshStore();
      const client = await nix(age);
      const file = join(scratch(), 'file');
      writeFileSync(file, 'the content of a file');
      const tree = join(scratch(), 'tree');
      mkdirSync(tree);
      writeFileSync(join(tree, 'file'), 'in a folder');
      const add = async (args: readonly string[]): Promise<string> =>
        (await client.check('nix-store', [...args], { store })).trim();
      const text = 'builtins.toFile "text" ("see " + builtins.toFile "other" "other")';
      const args = ['--eval', '--read-write-mode', '-E', text];
      const paths = [JSON.parse(await client.check('nix-instantiate', args, { store }))];
      for (const algorithm of ['sha1', 'sha256', 'sha512'])
        paths.push(
          await add(['--add-fixed', algorithm, file]),
          await add(['--add-fixed', '--recursive', algorithm, tree]),
        );
      const cache = join(scratch(), 'cache');
      await client.check('nix', ['copy', '--to', `file://${cache}`, ...paths], { store });
      const { addresses, ids } = await addressesIn(cache);
      assert.deepEqual(ids, frame);
      assert.deepEqual(addresses.map(ca => ca.replace(/:[^:]*$/, '')).sort(), [
        ...['fixed:r:sha1', 'fixed:r:sha256', 'fixed:r:sha512'],
        ...['fixed:sha1', 'fixed:sha256', 'fixed:sha512', 'text:sha256', 'text:sha256'],
      ]);
    });
});

/** The content addresses that a cache states, and what verify finds. */
async function addressesIn(cache: string): Promise<{ addresses: string[]; ids: string[] }> {
  const ids: string[] = [];
  const { infos } = await verify(directoryStorage(cache), {
    ...{ quick: false, keys: [], sigsNeeded: 0, jobs: 1 },
    report: event => {
      if ('id' in event) ids.push(event.id);
    },
  });
  return { addresses: [...infos.values()].flatMap(({ ca }) => ca ?? []), ids: ids.sort() };
}

describe('a content address of a path that refers to itself', { skip }, () => {
  const made: Record<string, string> = {};

  before(async () => {
    const folder = scratch();
    const { cache, paths } = await makeHealthy(folder);
    for (const age of ages) {
      const client = await nix(age);
      const store = freshStore();
      const options = ['--option', 'require-sigs', 'false', '--option', 'substituters'];
      await client.check('nix-store', ['--realise', paths.app, ...options, `file://${cache}`], {
        store,
      });
      const args = ['store', 'make-content-addressed', '--json', paths.app];
      const { rewrites } = JSON.parse(await client.check('nix', args, { store }));
      const to = join(folder, age);
      await client.check('nix', ['copy', '--to', `file://${to}`, rewrites[paths.app]], { store });
      made[age] = to;
    }
  });

  test('that hashes its positions, as the oldest and the coming Nix do, is right', async () => {
    assert.deepEqual(idsOf(await findingsIn(made.oldest!)), frame);
  });

  test('that forgets them, as 2.17 to 2.34 do, is damage: all other versions refuse the path', async () => {
    for (const age of ['middle', 'newest'])
      assert.deepEqual(idsOf(await findingsIn(made[age]!)), ['ca-wrong', ...frame], age);
  });
});

test('--record refuses a cache on a read-only mount before it reads anything', {
  skip: skipMounts,
}, async () => {
  const { cache } = await makeHealthy(scratch());
  const script =
    'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" "$3" verify --record "$1"';
  const sandbox = ['unshare', '-Urm', '/bin/sh', '-c', script, 'sh'];
  const { code, stdout, stderr } = await execute([...sandbox, cache, process.execPath, program]);
  assert.deepEqual([code, stdout], [2, ''], stderr);
  assert.match(stderr, /it cannot be written to \(EROFS\)/);
});
