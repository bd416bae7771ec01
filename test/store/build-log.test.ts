/** Build logs as Nix keeps them: where they are found, and what comes out. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { defaultStoreDir, parseStorePath } from '../../src/format/store-path.ts';
import { logFileIn, unpackLog } from '../../src/store/build-log.ts';
import { temporaryFolder } from '../temporary.ts';

const name = `${'3'.repeat(32)}-x.drv`;
const derivation = parseStorePath(`${defaultStoreDir}/${name}`, defaultStoreDir);
const text = 'a line\nand one that is not UTF-8: \xe9\n'.repeat(50_000);
const skip = spawnSync('bzip2', ['--version']).error ? 'no bzip2 here' : false;

function logAt(place: string, bytes: Uint8Array): string {
  const folder = temporaryFolder();
  const file = join(folder, place);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  return folder;
}

const bzip2 = (bytes: Uint8Array): Buffer => spawnSync('bzip2', { input: bytes }).stdout;

for (const [place, packed] of [
  [`drvs/33/${name.slice(2)}`, false],
  [`drvs/33/${name.slice(2)}.bz2`, true],
  [`drvs/${name}`, false],
  [`drvs/${name}.bz2`, true],
] as const)
  test(`a log at ${place} is found and read`, { skip: packed && skip }, async () => {
    const bytes = Buffer.from(text, 'latin1');
    const folder = logAt(place, packed ? bzip2(bytes) : bytes);
    const file = logFileIn(folder, derivation)!;
    assert.equal(file, join(folder, place));
    const to = join(folder, 'text');
    assert.equal(await unpackLog(file, to), bytes.length);
    assert.equal(readFileSync(to, 'latin1'), text);
  });

test('a log that is not there is not found, nor is that of another derivation', () => {
  const folder = logAt(`drvs/33/${'4'.repeat(30)}-x.drv`, Buffer.from(text));
  assert.equal(logFileIn(folder, derivation), undefined);
});

test('a log that is damaged, and a machine without bzip2, are told apart', { skip }, async t => {
  const bytes = bzip2(Buffer.from(text, 'latin1'));
  for (const damaged of [bytes.subarray(0, 40), bytes.fill('x', 30, 40), Buffer.from('no')]) {
    const folder = logAt(`drvs/${name}.bz2`, damaged);
    await assert.rejects(unpackLog(join(folder, `drvs/${name}.bz2`), join(folder, 'text')), {
      code: 'corrupt',
      message: /^Cannot read the build log .*: /,
    });
  }
  const { PATH } = process.env;
  t.after(() => {
    process.env.PATH = PATH;
  });
  process.env.PATH = '/nowhere';
  const folder = logAt(`drvs/${name}.bz2`, bytes);
  await assert.rejects(unpackLog(join(folder, `drvs/${name}.bz2`), join(folder, 'text')), {
    code: 'absent',
    message: /the program bzip2 cannot be started; install it$/,
  });
  rmSync(folder, { recursive: true });
});
