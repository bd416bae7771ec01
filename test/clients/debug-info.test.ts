/** `granary make --debug-info` writes what `nix copy` with index-debug-info writes, and verify follows it. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { contentOf } from '../cache/proof.ts';
import { findingsIn } from '../flow/found.ts';
import { granary } from '../granary.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, nix, whyNoClients } from './nix.ts';

const skip = await whyNoClients();
const id = (digit: string, length = 38): string => digit.repeat(length);

/** Files with debug information, and much that only looks like them. */
function debugTree(): string {
  const tree = join(scratch(), 'debug');
  const folder = 'lib/debug/.build-id';
  const files = [
    `${folder}/02/${id('a')}.debug`,
    `${folder}/02/${id('b')}.debug`,
    `${folder}/fe/${id('0')}.debug`,
    `${folder}/02/${id('A')}.debug`, // upper case
    `${folder}/02/${id('a', 37)}.debug`,
    `${folder}/02/${id('a')}.debug.bak`,
    `${folder}/0g/${id('a')}.debug`,
    `${folder}/03/${id('c')}.debug/file`, // a folder
    `${folder}/${id('d', 40)}.debug`,
    `lib/debug/${id('e')}.debug`,
  ];
  for (const file of files) {
    mkdirSync(join(tree, dirname(file)), { recursive: true });
    writeFileSync(join(tree, file), `content of ${file}`);
  }
  symlinkSync(`${id('a')}.debug`, join(tree, folder, '02', `${id('f')}.debug`));
  symlinkSync('02', join(tree, folder, '04'));
  return tree;
}

/** The debuginfo files of a cache. */
const linksIn = (cache: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(contentOf(cache)).filter(([key]) => /^debuginfo\/.*\.debug/.test(key)),
  );

for (const age of ages)
  test(`the debuginfo files are those of the ${age} Nix, byte for byte`, { skip }, async () => {
    const client = await nix(age);
    const store = freshStore();
    const path = (await client.check('nix-store', ['--add', debugTree()], { store })).trim();
    const [theirs, ours] = [join(scratch(), 'theirs'), join(scratch(), 'ours')];
    for (const compression of ['none', 'br']) {
      const url = `file://${theirs}-${compression}?compression=${compression}&index-debug-info=true`;
      await client.check('nix', ['copy', '--to', url, path], { store });
      const to = `${ours}-${compression}`;
      const args = ['make', '--from', store.url, '--to', to, '--debug-info', '--no-flush'];
      const made = await granary([...args, '--compression', compression, path]);
      assert.equal(made.code, 0, made.stderr);
      const expected = linksIn(`${theirs}-${compression}`);
      assert.deepEqual(Object.keys(expected), [
        `debuginfo/02${id('a')}.debug`,
        `debuginfo/02${id('b')}.debug`,
        `debuginfo/fe${id('0')}.debug`,
      ]);
      assert.deepEqual(Object.keys(linksIn(to)), Object.keys(expected));
      // brotli at other levels is another file under another name
      if (compression === 'none') assert.deepEqual(linksIn(to), expected);
      assert.deepEqual(await findingsIn(to), []);
    }
  });

test('what led to a file that is gone leads to the new one', { skip }, async () => {
  const cache = join(scratch(), 'cache');
  const args = ['make', '--to', cache, '--debug-info', '--add', `${debugTree()}=debug`];
  const key = `debuginfo/02${id('a')}.debug`;
  mkdirSync(join(cache, 'debuginfo'), { recursive: true });
  writeFileSync(join(cache, key), '{"archive":"../nar/gone.nar","member":"x"}');
  assert.equal((await granary(args)).code, 0);
  assert.deepEqual(await findingsIn(cache), []);
  const first = linksIn(cache);
  assert.equal(Object.keys(first).length, 3);
  assert.equal((await granary(args)).code, 0);
  assert.deepEqual(linksIn(cache), first, 'and nothing changes the second time');
});
