/** A cache made by an enemy: verify stays inside it, comes to its end, and takes no more than it should. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { listingKey } from '../../src/cache/cache.ts';
import { codecFor } from '../../src/cache/codec.ts';
import { GranaryError } from '../../src/errors.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { refused } from '../format/narinfo-cases.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { Patient } from './damage.ts';
import { findingsIn, idsOf } from './found.ts';
import { makeHealthy } from './healthy.ts';

const folder = temporaryFolder();
const healthy = await makeHealthy(folder);
let copies = 0;

function patient(): Patient {
  const dir = join(folder, `copy-${copies++}`);
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

const MiB = 2 ** 20;
const peak = (): number => process.resourceUsage().maxRSS / 1024; // MiB

/** One frame of zeros, 128 KiB in each block of four bytes; `stated` puts its size into its header. */
function zeros(size: number, stated: boolean): Buffer {
  const header = Buffer.alloc(stated ? 14 : 6);
  header.writeUInt32LE(0xfd2fb528, 0);
  header[4] = stated ? 0xc0 : 0;
  header[5] = 0x38; // a window of 128 KiB
  if (stated) header.writeBigUInt64LE(BigInt(size), 6);
  const blocks = Buffer.alloc((size / 2 ** 17) * 4);
  for (let at = 0; at < blocks.length; at += 4)
    blocks.writeUIntLE(((2 ** 17) << 3) | (1 << 1) | (at + 4 === blocks.length ? 1 : 0), at, 3);
  return Buffer.concat([header, blocks]);
}

const bombs: Readonly<Record<string, readonly [string, () => Buffer]>> = {
  'zstd, one frame that states its size': ['zstd', () => zeros(1024 * MiB, true)],
  'zstd, one frame that does not': ['zstd', () => zeros(1024 * MiB, false)],
  'zstd, many frames': [
    'zstd',
    () => Buffer.concat(Array(256).fill(zstdCompressSync(Buffer.alloc(4 * MiB)))),
  ],
  gzip: ['gzip', () => Buffer.concat(Array(64).fill(gzipSync(Buffer.alloc(16 * MiB))))],
  brotli: ['br', () => brotliCompressSync(Buffer.alloc(256 * MiB), { params: { 1: 1 } })],
};

for (const [what, [compression, make]] of Object.entries(bombs))
  test(`a bomb (${what}) is not decompressed beyond NarSize`, async () => {
    const p = patient();
    const bomb = make();
    p.repack(
      'app',
      nar => nar,
      () => bomb,
    );
    p.field('app', 'Compression', compression);
    const [before, start] = [peak(), performance.now()];
    assert.deepEqual(idsOf(await findingsIn(p.dir)), ['nar-size-wrong']);
    assert.ok(peak() - before < 64, `it took ${peak() - before} MiB`);
    assert.ok(performance.now() - start < 1500, 'it took too long');
  });

test('xz is not decompressed beyond NarSize either', async t => {
  const xz = codecFor('xz');
  let bomb: Uint8Array;
  try {
    bomb = await xz.compressPiece!(Buffer.alloc(16 * MiB), 1);
  } catch (error) {
    assert.ok(error instanceof GranaryError);
    t.skip(error.message);
    return;
  }
  const p = patient();
  p.repack(
    'app',
    nar => nar,
    () => Buffer.from(bomb),
  );
  p.field('app', 'Compression', 'xz');
  const before = peak();
  assert.deepEqual(idsOf(await findingsIn(p.dir)), ['nar-size-wrong']);
  assert.ok(peak() - before < 64, `it took ${peak() - before} MiB`);
});

test('a NarSize of nearly 2^53 is believed for no allocation', async () => {
  const p = patient();
  p.field('app', 'NarSize', String(Number.MAX_SAFE_INTEGER));
  const before = peak();
  assert.deepEqual(idsOf(await findingsIn(p.dir)), ['nar-size-wrong']);
  assert.ok(peak() - before < 32);
});

const big: Readonly<Record<string, () => string>> = {
  'one line': () => `StorePath: ${'x'.repeat(50 * MiB)}\n`,
  'signatures by the million': () => 'Sig: a:b\n'.repeat((50 * MiB) / 9),
  'lines of nothing': () => '\n'.repeat(50 * MiB),
  'slashes alone': () => `StorePath: ${'/'.repeat(8 * MiB)}\n`,
};

for (const [what, text] of Object.entries(big))
  test(`a narinfo of megabytes (${what}) is one finding of a few words`, async () => {
    const p = patient();
    p.edit('twin', text);
    const found = await findingsIn(p.dir, { quick: true });
    assert.deepEqual(idsOf(found), ['narinfo-malformed']);
    assert.ok(found[0]!.message.length < 3000);
  });

test('a good narinfo with 50 MB of fields that nobody knows is a good narinfo', async () => {
  const p = patient();
  p.edit('twin', text => text + 'a: \n'.repeat((50 * MiB) / 4));
  const before = peak();
  assert.deepEqual(await findingsIn(p.dir, { quick: true }), []);
  assert.ok(peak() - before < 400, `it took ${peak() - before} MiB`);
});

for (const [what, [text]] of Object.entries(refused))
  test(`a malformed narinfo is one finding and nothing else: ${what}`, async () => {
    const p = patient();
    p.edit('twin', () => text);
    const [found, ...more] = await findingsIn(p.dir, { quick: true });
    assert.deepEqual(more, []);
    assert.match(found!.id, /^narinfo-(malformed|foreign)$/);
    assert.equal(found!.key, p.key('twin'));
  });

test('folders too deep to be named are a finding', t => {
  const p = patient();
  const shell = 'for i in $(seq 20); do mkdir $0; cd $0; done';
  spawnSync('sh', ['-c', shell, 'd'.repeat(250)], { cwd: p.dir });
  t.after(() => spawnSync('rm', ['-rf', p.dir]));
  return findingsIn(p.dir).then(found => assert.deepEqual(idsOf(found), ['unreadable']));
});

test('a link out of the cache is never followed, wherever it is', async () => {
  const outside = join(folder, 'outside');
  mkdirSync(outside);
  for (const key of ['', ...readdirSync(healthy.cache, { recursive: true })].map(String)) {
    const p = patient();
    const [file, elsewhere] = [p.file(key), join(outside, `x${copies}`)];
    if (key === '' || key.endsWith('KEEP')) continue;
    renameSync(file, elsewhere);
    symlinkSync(elsewhere, file);
    const accessed = tracing(p.dir);
    const found = await findingsIn(accessed.storage);
    assert.ok(
      found.some(({ id, key: which }) => id === 'not-a-file' && which === key),
      key,
    );
    assert.deepEqual(
      accessed.keys.filter(each => each === key || each.startsWith(`${key}/`)),
      [],
    );
  }
});

/** A storage that tells which keys were asked for. */
function tracing(dir: string): { readonly storage: Storage; readonly keys: string[] } {
  const storage = directoryStorage(dir);
  const keys: string[] = [];
  const get: Storage['get'] = (key, span) => {
    keys.push(key);
    return storage.get(key, span);
  };
  return { storage: { ...storage, get }, keys };
}

test('files that vanish while verify runs are left out or found, at any moment', async () => {
  const keys = readdirSync(healthy.cache, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(healthy.cache.length + 1));
  for (const victim of keys) {
    const p = patient();
    const storage = directoryStorage(p.dir);
    async function* inventory() {
      yield* Array.from(await Array.fromAsync(storage.inventory!()));
      rmSync(p.file(victim));
    }
    const found = await findingsIn({ ...storage, inventory });
    const expected = /^nar\/.*nar/.test(victim)
      ? ['nar-missing']
      : victim === 'nix-cache-info'
        ? ['cache-info-missing']
        : ['nar-orphan', 'reference-missing', 'listing-orphan']; // those that are not of anything else
    for (const { id } of found) assert.ok(expected.includes(id), `${victim}: ${id}`);
  }
});

test('a NAR file that the disk cannot give is a finding for each of its paths', async () => {
  const p = patient();
  const url = p.url('base');
  const storage = directoryStorage(p.dir);
  const get: Storage['get'] = async key => {
    const found = await storage.get(key);
    if (key !== url || !found) return found;
    async function* bytes() {
      yield Buffer.alloc(10);
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
    }
    return { bytes: bytes() };
  };
  const found = await findingsIn({ ...storage, get });
  assert.deepEqual(
    found.map(({ id, path }) => [id, path]),
    [
      ['unreadable', healthy.paths.base],
      ['unreadable', healthy.paths.twin],
    ],
  );
});

test('nothing in a name or a narinfo gets to a terminal as a command or a line of its own', async () => {
  const p = patient();
  const name = 'a\n\x1b[2J\x9b1mwarning nothing: all is well';
  writeFileSync(p.file(name), '');
  p.field('app', 'URL', '\x1b]0;x\x07');
  const { stdout } = await granary(['verify', '--quick', p.dir]);
  assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f\x7f-\x9f]|^warning nothing/m);
  assert.match(stdout, /^warning stranger: a\\x0a\\x1b\[2J/m);
});

test('very many narinfos of one NAR file cost one reading of it', async () => {
  const p = patient();
  const text = p.text('twin');
  const digits = '0123456789abcdfghijklmnpqrsvwxyz';
  const count = 5000; // a square would be seen already
  for (let at = 0; at < count; at++) {
    const hash = [at >> 15, at >> 10, at >> 5, at]
      .map(n => digits[n & 31])
      .join('')
      .padStart(32, '5');
    writeFileSync(p.file(`${hash}.narinfo`), text.replace(/4{32}-twin/g, `${hash}-twin`), 'latin1');
  }
  rmSync(p.file(listingKey(healthy.paths.twin)));
  const { storage, keys } = tracing(p.dir);
  assert.deepEqual(await findingsIn(storage), []);
  assert.deepEqual(
    keys.filter(key => key === p.url('twin')),
    [p.url('twin')],
  );
});
