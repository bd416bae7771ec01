/** Peak memory of `make` on one big file, as the system accounts for it (getrusage). */
import assert from 'node:assert/strict';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ended, startGranary } from '../granary.ts';
import type { Soak } from './run.ts';

const limitMiB = 256;

/** `count` is the file's size in MiB. */
export const memory: Soak = async ({ count, print }) => {
  const folder = mkdtempSync(join(tmpdir(), 'granary-memory-'));
  try {
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    writeReal(join(tree, 'big'), count * 2 ** 20);
    const peakAtExit = new URL('./peak.ts', import.meta.url).href;
    const child = startGranary(
      ['make', '--to', join(folder, 'cache'), '--add', `${tree}=tree`, '--jobs', '2'],
      ['--import', peakAtExit],
    );
    const { code, stderr } = await ended(child);
    assert.equal(code, 0, stderr);
    const peak = Number(/^peak (\d+) KiB$/m.exec(stderr)?.[1]) / 1024;
    print(`make of one file of ${count} MiB with two jobs: peak ${peak.toFixed(0)} MiB`);
    assert.ok(peak > 0 && peak < limitMiB, `over ${limitMiB} MiB`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

/** Fills a file with what this Node's own binary and headers hold: as compressible as real programs. */
function writeReal(file: string, size: number): void {
  const fd = openSync(file, 'w');
  const source = readFileSync(process.execPath);
  const salt = Buffer.alloc(64);
  for (let at = 0; at < size; ) {
    const part = source.subarray(0, Math.min(source.length, size - at));
    salt.writeUInt32LE(at >>> 0); // so that no two rounds are equal
    part.set(salt.subarray(0, Math.min(salt.length, part.length)));
    at += writeSync(fd, part);
  }
  closeSync(fd);
  assert.equal(statSync(file).size, size);
  assert.deepEqual(readdirSync(join(file, '..')), ['big']);
}
