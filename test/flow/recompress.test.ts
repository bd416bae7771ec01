/** `copy --recompress`: what moves is what `make` would have packed, and nothing that is not proven. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { WritableCompression } from '../../src/cache/codec.ts';
import { type CopyOptions, executeCopy } from '../../src/flow/copy.ts';
import { type CopyWish, planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { executeMake } from '../../src/flow/make.ts';
import { planMake, type Source } from '../../src/flow/plan.ts';
import { sha256 } from '../../src/format/hash.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { bodyOf, type Storage } from '../../src/storage/storage.ts';
import { addedStore } from '../../src/store/added.ts';
import { contentOf, proofOf, temporariesIn } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { seeded } from '../random.ts';
import { temporaryFolder } from '../temporary.ts';
import { gallery, Patient } from './damage.ts';
import { findingsIn } from './found.ts';
import { makeHealthy } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());
const sources: readonly Source[] = [
  { store: healthy.store, roots: [healthy.paths.app, healthy.paths.twin] },
  { store: healthy.added, roots: [healthy.paths.plain] },
];
const fresh = (): string => join(temporaryFolder(), 'cache');

function patientOf(): Patient {
  const dir = fresh();
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

interface Packed {
  readonly compression: WritableCompression;
  readonly level: number;
}

const stored = (cache: string | Storage): Storage =>
  typeof cache === 'string' ? directoryStorage(cache, { flush: false }) : cache;

async function made(from: readonly Source[], packing: Packed): Promise<string> {
  const cache = fresh();
  const storage = stored(cache);
  const plan = await planMake(from, storage, { storeDir: defaultStoreDir, listings: true });
  await executeMake(plan, storage, {
    storeDir: defaultStoreDir,
    ...packing,
    listings: true,
    keys: [healthy.key],
    cacheInfo: {},
    jobs: 2,
    report: () => {},
  });
  return cache;
}

const xz: Packed = { compression: 'xz', level: 0 };

async function copied(
  from: string | Storage,
  to: string | Storage,
  options: Partial<CopyOptions> & Partial<CopyWish> = {},
) {
  const [source, target] = [stored(from), stored(to)];
  const plan = await planCopy(source, target, {
    noClosure: false,
    exclude: nothingExcluded,
    prefer: 'nobody',
    ...options,
  });
  return executeCopy(plan, source, target, {
    cacheInfo: {},
    keys: [],
    link: false,
    recompress: xz,
    closedBy: [],
    jobs: 2,
    report: () => {},
    ...options,
  });
}

/** All files of a storage into a new one that has no folder on this machine. */
async function inMemory(dir: string): Promise<Storage> {
  const storage = memoryStorage();
  for (const key of Object.keys(contentOf(dir)))
    await storage.put(key, bodyOf(readFileSync(join(dir, key))));
  return storage;
}

/** A cache's content without what every cache has. */
function filesOf(dir: string): Record<string, string> {
  const { 'nix-cache-info': _, ...files } = contentOf(dir);
  return files;
}

/** Text and noise, so big that every codec cuts it, and not at the end of a block. */
function bigTree(): string {
  const tree = join(temporaryFolder(), 'big');
  mkdirSync(join(tree, 'empty'), { recursive: true });
  const random = seeded(1);
  const noise = Buffer.from(Array.from({ length: 1 << 20 }, () => Math.floor(random() * 256)));
  writeFileSync(join(tree, 'noise'), Buffer.concat(Array(9).fill(noise)).subarray(0, 9_000_001));
  writeFileSync(join(tree, 'text'), 'one line of many\n'.repeat(1_200_000));
  writeFileSync(join(tree, 'z'), 'last');
  return tree;
}

const big = await addedStore([{ file: bigTree(), name: 'big' }], defaultStoreDir);
const all: readonly Source[] = [...sources, { store: big, roots: big.roots }];
const packings: readonly Packed[] = [
  { compression: 'zstd', level: 1 },
  xz,
  { compression: 'gzip', level: 1 },
  { compression: 'br', level: 1 },
  { compression: 'none', level: 0 },
];

test('each compression becomes each other, byte for byte as make packs it', async () => {
  const caches = await Promise.all(packings.map(packing => made(all, packing)));
  for (const [from, cache] of caches.entries())
    for (const [to, recompress] of packings.entries()) {
      // each from each on one thread or two, but not all 25: from each to its next, and to zstd
      if (to !== 0 && to !== (from + 1) % packings.length) continue;
      const target = fresh();
      const { moved, failed } = await copied(cache, target, { recompress, jobs: 1 + (from % 2) });
      assert.deepEqual([moved, failed.size], [6, 0]);
      assert.deepEqual(filesOf(target), filesOf(caches[to]!));
    }
});

test('from a storage that is elsewhere, and to one, the files are the same', async () => {
  const expected = filesOf(await made(all, xz));
  const cache = await made(all, packings[0]!);
  const far = await inMemory(cache);
  const to = fresh();
  assert.equal((await copied(far, to)).moved, 6);
  assert.deepEqual(filesOf(to), expected);
  const memory = memoryStorage();
  assert.equal((await copied(cache, memory)).moved, 6);
  const back = fresh();
  assert.equal((await copied(memory, back, { recompress: packings[0]! })).moved, 6);
  assert.deepEqual(filesOf(back), filesOf(cache));
});

test('what else a narinfo says stays, its signatures are right, and a debuginfo file leads to the new NAR', async () => {
  const source = patientOf();
  source.edit('lib', text => text.replace(/^(URL: .*\n)(?=(.*\n)*)/m, 'Own: 1\n$1Own:  2 \n'));
  source.edit('base', text => text.replace(/^File.*\n/gm, ''));
  source.link({ archive: `../${source.url('lib')}`, member: 'lib/lib.so' });
  const mine = parseSecretKey(generateKey('new-1').secret, 'test');
  const to = fresh();
  const { moved, failed } = await copied(source.dir, to, { keys: [mine] });
  assert.deepEqual([moved, failed], [5, new Map()]);
  const copy = new Patient(healthy, to);
  const expected = source
    .text('lib')
    .replace(/^Own: 1\nURL: .*\n/m, 'Own: 1\nURL: U\nCompression: xz\nFileHash: H\nFileSize: S\n')
    .replace(/\nOwn: {2}2 \nCompression: .*\nFileHash: .*\nFileSize: .*\n/, '\nOwn:  2 \n');
  const plain = copy
    .text('lib')
    .replace(/^URL: nar\/.*\.nar\.xz$/m, 'URL: U')
    .replace(/^FileHash: sha256:.*$/m, 'FileHash: H')
    .replace(/^FileSize: \d+$/m, 'FileSize: S')
    .replace(/^Sig: new-1:.*\n/m, '');
  assert.equal(plain, expected);
  const keys = [healthy.key.publicKey, mine.publicKey];
  assert.deepEqual(await findingsIn(to, { keys, sigsNeeded: 2 }), []);
  const link = JSON.parse(readFileSync(copy.file(`debuginfo/${'a'.repeat(40)}.debug`), 'utf8'));
  assert.deepEqual(link, { archive: `../${copy.url('lib')}`, member: 'lib/lib.so' });
});

test('what the target has stays as it is', async () => {
  const to = fresh();
  await copied(healthy.cache, to, { roots: [healthy.paths.lib] });
  const before = contentOf(to);
  const zstd: Packed = { compression: 'zstd', level: 3 };
  assert.equal((await copied(healthy.cache, to, { recompress: zstd })).moved, 3);
  const after = contentOf(to);
  for (const [key, hash] of Object.entries(before)) assert.equal(after[key], hash, key);
  assert.deepEqual((await proofOf(to)).faults, []);
  assert.equal((await copied(healthy.cache, to)).moved, 0);
});

const spoilings: Readonly<Record<string, readonly [(p: Patient) => void, RegExp]>> = {
  'is not there': [p => rmSync(p.file(p.url('lib'))), /\.nar\.zst is not there/],
  'is a folder': [
    p => {
      rmSync(p.file(p.url('lib')));
      mkdirSync(p.file(p.url('lib')));
    },
    /cannot be read|is not there/,
  ],
  'has a byte that is wrong': [
    p => {
      const bytes = readFileSync(p.file(p.url('lib')));
      bytes[30]! ^= 1;
      writeFileSync(p.file(p.url('lib')), bytes);
    },
    /has the hash sha256:.*, and its narinfo says|is not whole/,
  ],
  'is cut': [
    p => writeFileSync(p.file(p.url('lib')), readFileSync(p.file(p.url('lib'))).subarray(0, 90)),
    /has 90 bytes, its narinfo says|has the hash/,
  ],
  'goes on': [
    p => writeFileSync(p.file(p.url('lib')), '\0', { flag: 'a' }),
    /bytes, its narinfo says/,
  ],
  'is noise under its right hash': [
    p =>
      p.repack(
        'lib',
        bytes => bytes,
        () => Buffer.from('noise '.repeat(1000)),
      ),
    /is not whole/,
  ],
  'holds another NAR': [
    p => p.repack('lib', nar => nar.fill('z', 2000, 2010)),
    /holds a NAR with the hash/,
  ],
  'holds no NAR': [
    p => {
      p.repack('lib', nar => nar.fill(0, 24, 32));
      p.field('lib', 'NarHash', sha256(Buffer.alloc(0)));
    },
    /is not whole/,
  ],
  'holds more than NarSize': [
    p => p.repack('lib', nar => Buffer.concat([nar, Buffer.alloc(1 << 20)])),
    /is not whole|holds a NAR/,
  ],
  'has a compression that cannot be read': [
    p => p.field('lib', 'Compression', 'bzip2'),
    /is zstd, and its narinfo says bzip2/,
  ],
};

for (const [what, [spoil, message]] of Object.entries(spoilings))
  test(`a file that ${what} stays behind, with what refers to it`, async () => {
    for (const isFar of [false, true]) {
      const source = patientOf();
      spoil(source);
      const to = fresh();
      const { failed, held, moved } = await copied(
        isFar ? await inMemory(source.dir) : source.dir,
        to,
      );
      assert.deepEqual([...failed.keys()], [healthy.paths.lib]);
      const { message: told } = failed.get(healthy.paths.lib)!;
      assert.match(told, message);
      assert.ok(told.startsWith(`Cannot copy ${healthy.paths.lib} from `), told);
      assert.deepEqual([held, moved], [[healthy.paths.app], 3]);
      assert.deepEqual(temporariesIn(to), []);
      assert.deepEqual((await proofOf(to)).faults, []);
    }
  });

test('whatever is wrong with a cache, its copy is proven', async () => {
  for (const [what, damage] of Object.entries(gallery)) {
    const source = patientOf();
    damage.do(source);
    const to = fresh();
    try {
      await copied(source.dir, to);
    } catch (error) {
      assert.match(String(error), /^GranaryError: Cannot/, what);
    }
    const { faults } = await proofOf(to).catch(() => ({ faults: [] })); // nothing was made
    assert.deepEqual(faults, [], what);
  }
});

test('a target that fails in the middle keeps what was complete, closed', async () => {
  const to = fresh();
  const whole = stored(to);
  let puts = 0;
  const failing: Storage = {
    ...whole,
    put: async (key, body) => {
      puts += 1;
      if (puts === 3) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
      await whole.put(key, body);
    },
  };
  await assert.rejects(copied(healthy.cache, failing, { jobs: 1 }), {
    code: 'unavailable',
    message: /the disk is full/,
  });
  const { faults, narInfos } = await proofOf(to);
  assert.deepEqual(faults, []);
  assert.ok(narInfos > 0, 'of two that were put, one is published');
  assert.deepEqual(temporariesIn(to), []);
  await copied(healthy.cache, to);
  assert.deepEqual(filesOf(to), filesOf(await made(sources, xz)));
});

test('the command takes NAME and NAME:LEVEL, as make does, and says what it cannot', async () => {
  const [to, like] = [fresh(), fresh()];
  const args = ['copy', '--from', healthy.cache, '--to', to];
  const ran = await granary([...args, '--recompress', 'zstd:19']);
  assert.equal(ran.code, 0, ran.stderr);
  assert.match(ran.stdout, /: 5 paths copied and packed anew, /);
  for (const name of ['base', 'lib', 'app', 'twin', 'plain'] as const)
    assert.match(new Patient(healthy, to).text(name), /^Compression: zstd$/m);
  const one = ['make', '--add', `${join(import.meta.dirname, 'damage.ts')}=x`, '--to', like];
  assert.equal((await granary([...one, '--compression', 'xz:0'])).code, 0);
  const [narInfo] = Object.keys(contentOf(like)).filter(key => key.endsWith('.narinfo'));
  const { file } = parseNarInfo(readFileSync(join(like, narInfo!), 'latin1'), defaultStoreDir);
  assert.equal(file.compression, 'xz');
  for (const [words, message] of [
    [[...args, '--recompress', 'zst'], /--recompress zst: it takes one of zstd, .*mean zstd\?/],
    [[...args, '--recompress', 'zstd:23'], /zstd:23: the level of zstd is .* from 1 to 22/],
    [[...args, '--recompress', 'zstd:'], /zstd:: the level of zstd is/],
    [[...args, '--recompress', 'xz:best'], /xz:best: the level of xz is .* from 0 to 9/],
    [[...args, '--recompress', 'none:1'], /none:1: none has no level/],
    [[...args, '--recompress', 'xz', '--link'], /--link with --recompress/],
    [[...one, '--compression', 'xz:0', '--level', '1'], /--level with --compression xz:0/],
  ] as const) {
    const { code, stderr } = await granary(words);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});
