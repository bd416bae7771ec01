/** What a word means in a cache: the grammar of roots, without a store to look into. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cacheRoot } from '../../src/flow/cache-root.ts';
import { parseStoreDir } from '../../src/format/store-path.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { temporaryFolder } from '../temporary.ts';

const storeDir = parseStoreDir('/no/such/store'); // nothing of it is on this machine
const hash = '0123456789abcdfghijklmnpqrsvwxyz';
const name = `${hash}-foo`;
const path = `${storeDir}/${name}`;
const storage: Storage = { ...memoryStorage(), url: 'the cache' };

const folder = temporaryFolder();
mkdirSync(join(folder, 'links'));
symlinkSync(path, join(folder, 'result'));
symlinkSync('result', join(folder, 'again'));
symlinkSync('../result', join(folder, 'links/up'));
symlinkSync(`${path}/bin/foo`, join(folder, 'program'));
symlinkSync('nowhere', join(folder, 'dangling'));
symlinkSync('/gnu/store', join(folder, 'gnu'));

for (const [word, root, place] of [
  [hash, hash, ''],
  [name, name, ''],
  [`${name}/`, name, ''],
  [`${hash}/bin/foo`, hash, 'bin/foo'],
  [path, name, ''],
  [`${path}/`, name, ''],
  [`${path}/bin`, name, 'bin'],
  [`${path}/../x`, name, '../x'],
  [`${storeDir}/./${name}/bin`, name, 'bin'],
  [join(folder, 'result'), name, ''],
  [`${folder}/result/`, name, ''],
  [`${folder}/result/bin/foo`, name, 'bin/foo'],
  [join(folder, 'again/bin'), name, 'bin'],
  [join(folder, 'links/up'), name, ''],
  [join(folder, 'program'), name, 'bin/foo'],
] as const)
  test(`in a cache ${word.replace(folder, '.')} is ${place || 'all'} of ${root}`, () => {
    assert.deepEqual(cacheRoot(word, storage, storeDir), { name: root, place });
  });

for (const word of [
  'hello',
  '',
  './nope',
  `/gnu/store/${name}`,
  `${join(folder, 'gnu')}/${name}`,
  `/nix/store/${hash}`,
  join(folder, 'dangling'),
  storeDir,
  `${storeDir}/foo`,
])
  test(`in a cache "${word.replace(folder, '.')}" is nothing: usage, naming both, and how to list it`, () => {
    const says = (message: string): void =>
      assert.throws(() => cacheRoot(word, storage, storeDir), { code: 'usage', message });
    says(
      `Cannot find "${word}" in the cache the cache: it neither is nor leads to a store path in ${storeDir}, a base name or a hash part; "granary info --all the cache" lists what it has`,
    );
  });

test('a cache that cannot be listed is not said to be', () => {
  const { list: _, ...far } = storage;
  assert.throws(() => cacheRoot('hello', far, storeDir), { message: /or a hash part$/ });
});

test('a flake reference is answered with the command that gives its path', () => {
  assert.throws(() => cacheRoot('nixpkgs#hello', storage, storeDir), {
    code: 'usage',
    message: /write "\$\(nix build --no-link --print-out-paths 'nixpkgs#hello'\)"/,
  });
});
