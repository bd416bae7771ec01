/** `granary verify` as a person or a program runs it: what it takes, says, leaves behind, and exits with. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { generateKey } from '../../src/format/key.ts';
import { version } from '../../src/version.ts';
import { contentOf } from '../cache/proof.ts';
import { gallery, Patient } from '../flow/damage.ts';
import { makeHealthy } from '../flow/healthy.ts';
import { granary, type Ran } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';

const folder = temporaryFolder();
const healthy = await makeHealthy(folder);
const key = healthy.key.publicKey.text;
const keyFile = join(folder, 'key.pub');
writeFileSync(keyFile, `${key}\n`);
const otherKey = generateKey('other-1').public;
const sameName = generateKey(healthy.key.name).public;
const { lib, app } = healthy.paths;
let copies = 0;

/** A copy of the cache with some of the gallery's damage. */
function cacheWith(...damages: readonly string[]): string {
  const dir = join(folder, `copy-${copies++}`);
  cpSync(healthy.cache, dir, { recursive: true });
  for (const damage of damages) gallery[damage]!.do(new Patient(healthy, dir));
  return dir;
}

const whole = healthy.cache;
const odd = cacheWith('something else');
const broken = cacheWith('a NAR cut short');
const holed = cacheWith('a reference without a narinfo');
const nothing = join(folder, 'nothing');
mkdirSync(nothing);

const ends: Readonly<Record<string, readonly [number, readonly string[], RegExp?]>> = {
  'whole: 0': [0, [whole], /5 paths, .* of NARs read; nothing wrong; /],
  'whole and quick: 0': [0, ['--quick', whole], /5 paths, 0 B of NARs read; nothing wrong; /],
  'a warning: 0': [0, [odd], /^warning stranger: thesis.txt .*\n.*0 damages, 1 warning; /],
  'a warning, --strict: 1': [1, ['--strict', odd]],
  'damage: 1': [
    1,
    [broken],
    /^damage nar-malformed: nar\/.* is not whole: .*; run "granary repair" with a store .*\.$/m,
  ],
  'damage that --quick does not see: 0': [0, ['--quick', broken]],
  'damage outside of the ROOTs: 0': [0, [broken, lib], /2 paths/],
  'damage in the closure of a ROOT: 1': [1, [broken, app]],
  'a hole: 1': [1, [holed], /^damage reference-missing: /m],
  'a hole that another cache fills: 0': [0, [holed, '--with', whole]],
  'a hole that the first of two caches fills: 0': [0, [holed, '--with', whole, '--with', holed]],
  'a hole that two caches leave: 1': [1, [holed, '--with', holed, '--with', holed]],
  'signed by a key, given as text: 0': [0, [whole, '--quick', '--trusted-key', key]],
  'signed by a key, given as a file: 0': [0, [whole, '--quick', '--trusted-key', keyFile]],
  'not signed by that key: 1': [
    1,
    [whole, '--quick', '--trusted-key', otherKey],
    /^damage signature-missing: .*-app has 0 of the 1 signatures/m,
  ],
  'not by two: 1': [
    1,
    [whole, '--quick', '--trusted-key', key, '--trusted-key', otherKey, '--sigs-needed', '2'],
    /has 1 of the 2 signatures/,
  ],
  'no cache: 3': [3, [join(folder, 'absent')], /Cannot find the cache/],
  'another cache that is none: 3': [3, [whole, '--with', join(folder, 'absent')]],
  'a ROOT that the cache lacks: 3': [3, [whole, '8'.repeat(32)], /Cannot find 8+ in the cache/],
  'nothing named: 2': [2, [], /name the CACHE/],
  'a folder with no cache in it: 2': [2, [nothing], /neither nix-cache-info nor a narinfo/],
  'a file: 2': [2, [join(odd, 'thesis.txt')]],
  'signatures counted by no key: 2': [2, [whole, '--sigs-needed', '2'], /--trusted-key/],
  'a key that is none: 2': [2, [whole, '--trusted-key', 'a:b'], /public key of the name "a"/],
  'a key file that is not there: 2': [2, [whole, '--trusted-key', 'k.pub'], /no such file/],
  'a folder as a key: 2': [2, [whole, '--trusted-key', folder], /Cannot read the key file/],
  'two keys of one name: 2': [
    2,
    [whole, '--trusted-key', key, '--trusted-key', sameName],
    /two keys of the name test-1/,
  ],
  'a verdict of a part: 2': [2, [whole, '--record', lib], /leave out the ROOTs/],
};

for (const [what, [code, args, says]] of Object.entries(ends))
  test(`the exit status tells: ${what}`, async () => {
    const before = contentOf(whole);
    const ran = await granary(['verify', ...args]);
    assert.equal(ran.code, code, ran.stderr);
    assert.match(ran.stdout + ran.stderr, says ?? /./);
    assert.deepEqual(contentOf(whole), before, 'verify only reads');
  });

const linesOf = ({ stdout }: Ran) =>
  stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));

test('--json gives a line for each finding with its facts, and a summary at the end', async () => {
  const ran = await granary(['verify', '--json', broken]);
  assert.equal(ran.code, 1);
  const lines = linesOf(ran);
  const url = new Patient(healthy, broken).url('app');
  const findings = lines.slice(0, -1);
  assert.deepEqual(findings.map(line => line.id).sort(), [
    ...['nar-hash-wrong', 'nar-malformed', 'nar-size-wrong'],
  ]);
  for (const { type, severity, key, path, message, advice } of findings) {
    assert.deepEqual([type, severity, key, path], ['finding', 'damage', url, app]);
    assert.ok(message && advice);
  }
  const { seconds, narBytes, ...summary } = lines.at(-1);
  assert.ok(seconds > 0 && narBytes > 0);
  assert.deepEqual(summary, {
    ...{ type: 'summary', ok: false, exit: 1, cache: broken },
    ...{ narInfos: 5, narFiles: 4, damage: 3, warnings: 0 },
  });
});

test('--quiet says nothing, and exits the same', async () => {
  assert.deepEqual(await granary(['verify', '--quiet', broken]), {
    ...{ code: 1, stdout: '', stderr: '' },
  });
});

test('--record leaves the verdict in the cache, whole or not, and nothing else; the next one replaces it', async () => {
  const dir = cacheWith('a NAR cut short', 'something else');
  const before = contentOf(dir);
  const file = join(dir, 'granary/verified.json');
  const start = Date.now();
  assert.equal(
    (await granary(['verify', dir, '--record', '--with', whole, '--with', odd])).code,
    1,
  );
  const { time, narBytes, ...said } = JSON.parse(readFileSync(file, 'utf8'));
  assert.ok(Date.parse(time) >= start && new Date(time).toISOString() === time);
  assert.ok(narBytes > 0);
  assert.deepEqual(said, {
    ...{ version: 1, granary: version, checked: { nars: true, with: [whole, odd] } },
    ...{ narInfos: 5, narFiles: 4, damage: 3, warnings: 1 },
  });
  const after = contentOf(dir);
  delete after['granary/verified.json'];
  assert.deepEqual(after, before);

  rmSync(join(dir, 'thesis.txt'));
  const again = ['verify', dir, '--record', '--quick', '--trusted-key', key];
  assert.equal((await granary(again)).code, 0);
  const second = JSON.parse(readFileSync(file, 'utf8'));
  assert.deepEqual(second.checked, { nars: false, trustedKeys: [key], sigsNeeded: 1 });
  assert.deepEqual([second.damage, second.warnings, second.narBytes], [0, 0, 0]);
});

test('--record refuses a cache in a Nix store before it reads anything', async () => {
  const dir = join(folder, `${'a'.repeat(32)}-cache`);
  renameSync(cacheWith('a NAR cut short'), dir);
  const before = contentOf(dir);
  const ran = await granary(['verify', '--record', dir]);
  assert.deepEqual([ran.code, ran.stdout], [2, '']);
  assert.match(ran.stderr, /lies in a Nix store.*cp -r --no-preserve=mode/);
  assert.deepEqual(contentOf(dir), before);
});
