/** Signatures of so many narinfos that threads check them. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { writeManyCaches } from '../soak/many-cache.ts';
import { temporaryFolder } from '../temporary.ts';
import { findingsIn } from './found.ts';

const [key, other, impostor] = ['key-1', 'other-1', 'key-1'].map(name =>
  parseSecretKey(generateKey(name).secret, 'test'),
);

test('threads tell the wrong signature and the missing one from 300 that hold', async () => {
  const cache = join(temporaryFolder(), 'cache');
  await writeManyCaches([cache], { seed: 1, count: 300, key: key! });
  const [wrong, missing] = readdirSync(cache).filter(name => name.endsWith('.narinfo'));
  const change = (name: string, from: RegExp, to: string): void => {
    const text = readFileSync(join(cache, name), 'latin1');
    assert.match(text, from);
    writeFileSync(join(cache, name), text.replace(from, to), 'latin1');
  };
  change(wrong!, /^Deriver: .*\n/m, ''); // not covered
  change(wrong!, /^Sig: key-1:.{8}/m, 'Sig: key-1:AAAAAAAA');
  change(missing!, /^Sig: .*\n/m, '');
  for (const jobs of [1, 2]) {
    const found = await findingsIn(cache, { keys: [key!.publicKey], sigsNeeded: 1, jobs });
    assert.deepEqual(found.map(({ id, key }) => `${id} ${key}`).sort(), [
      ...[missing, wrong].sort().map(name => `signature-missing ${name}`),
      `signature-wrong ${wrong}`,
    ]);
  }
  const both = [key!, other!].map(({ publicKey }) => publicKey);
  const needTwo = await findingsIn(cache, { keys: both, sigsNeeded: 2 });
  assert.equal(needTwo.filter(({ id }) => id === 'signature-missing').length, 300);
  const alien = await findingsIn(cache, { keys: [impostor!.publicKey], sigsNeeded: 1 });
  assert.equal(alien.filter(({ id }) => id === 'signature-wrong').length, 299);
});

test('with roots only their closures are read, and their signatures checked', async () => {
  const cache = join(temporaryFolder(), 'cache');
  await writeManyCaches([cache], { seed: 1, count: 300, key: key! });
  const infos = new Map(
    readdirSync(cache)
      .filter(name => name.endsWith('.narinfo'))
      .map(name => {
        const info = parseNarInfo(readFileSync(join(cache, name), 'latin1'), defaultStoreDir);
        return [info.path, info] as const;
      }),
  );
  const root = [...infos.keys()].find(path => infos.get(path)!.references.length > 2)!;
  const closure = new Set([root]);
  for (const path of closure)
    for (const reference of infos.get(path)!.references) closure.add(reference);
  assert.ok(closure.size > 3 && closure.size < 300);
  for (const name of readdirSync(cache).filter(name => name.endsWith('.narinfo'))) {
    const text = readFileSync(join(cache, name), 'latin1');
    writeFileSync(join(cache, name), text.replace(/^Sig: .*\n/m, ''), 'latin1');
  }
  const found = await findingsIn(cache, {
    keys: [key!.publicKey],
    sigsNeeded: 1,
    roots: [root],
  });
  assert.deepEqual(new Set(found.map(({ path }) => path)), closure);
  assert.equal(found.length, closure.size);
  await assert.rejects(findingsIn(cache, { roots: ['a'.repeat(32)] }), { code: 'absent' });
});
