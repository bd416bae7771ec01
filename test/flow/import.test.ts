/** Caches and stores into a store, by a daemon that does what a test wants. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { type Exclusion, nothingExcluded } from '../../src/flow/exclude.ts';
import { executeImport } from '../../src/flow/import.ts';
import { planImport } from '../../src/flow/import-plan.ts';
import { executeMake } from '../../src/flow/make.ts';
import { planMake } from '../../src/flow/plan.ts';
import { cacheSupply, type Supply, storeSupply } from '../../src/flow/supply.ts';
import { sha256 } from '../../src/format/hash.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import { narInfoKey, parseNarInfo } from '../../src/format/narinfo.ts';
import { fingerprint } from '../../src/format/signature.ts';
import {
  baseName,
  defaultStoreDir,
  parseBaseName,
  type StorePath,
} from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { dumpTree } from '../../src/store/filesystem.ts';
import { graphStore } from '../../src/store/graph.ts';
import type { Store, WritableStore } from '../../src/store/store.ts';
import { receivingDaemon } from '../store/receiving-daemon.ts';
import { temporaryFolder } from '../temporary.ts';

const named = (name: string, digit: string): StorePath =>
  parseBaseName(`${digit.repeat(32)}-${name}`, defaultStoreDir);
const [base, lib, app, other] = [
  named('base', '1'),
  named('lib', '2'),
  named('app', '3'),
  named('other', '4'),
];
const key = parseSecretKey(generateKey('test-1').secret, 'test');

/** A store in which `lib` is big, and a signed cache of it. */
async function scene(): Promise<{ store: Store; real: string; cache: string }> {
  const folder = temporaryFolder();
  const real = join(folder, 'store');
  mkdirSync(real);
  const write = (path: StorePath, content: string | Buffer): void =>
    writeFileSync(join(real, baseName(path)), content);
  write(base, 'base');
  write(lib, randomBytes(6_000_000)); // more than a frame of zstd, and than a socket holds
  write(app, `exec ${lib} ${app}`);
  write(other, 'other');
  const infos = (
    [
      [base, []],
      [lib, [base]],
      [app, [lib, app]],
      [other, []],
    ] as const
  ).map(([path, references]) => {
    const tree = join(real, baseName(path));
    const nar = Buffer.concat([
      ...dumpTree(tree, { block: () => Buffer.alloc(1 << 16), listing: false }),
    ]);
    return { path, narHash: sha256(nar), narSize: nar.length, references, signatures: [] };
  });
  const places = { storeDir: defaultStoreDir, real, state: folder };
  const store = graphStore('the test store', { infos, roots: [app, other] }, places);
  const cache = join(folder, 'cache');
  const storage = directoryStorage(cache, { flush: false });
  const settings = { storeDir: defaultStoreDir, listings: false };
  await executeMake(await planMake([{ store, roots: [app, other] }], storage, settings), storage, {
    ...settings,
    compression: 'zstd',
    level: 1,
    keys: [key],
    cacheInfo: {},
    jobs: 1,
    report: () => {},
  });
  return { store, real, cache };
}

interface Wish {
  readonly noClosure?: boolean;
  readonly exclude?: Exclusion;
  readonly keys?: readonly SecretKey[];
}

async function run(supply: Supply, into: WritableStore, wish: Wish = {}) {
  const { noClosure = false, exclude = nothingExcluded, keys = [] } = wish;
  const plan = await planImport(supply, into, { noClosure, exclude });
  const told: number[] = [];
  const done = await executeImport(plan, supply, into, {
    keys,
    report: ({ narBytes, paths }) => told.splice(0, 2, narBytes, paths),
  });
  if (done.added > 0) assert.deepEqual(told, [done.narBytes, done.added]);
  return { plan, ...done };
}

const fromCache = (cache: string, roots?: readonly string[]): Promise<Supply> =>
  cacheSupply(directoryStorage(cache), roots);

const infoIn = (cache: string, path: StorePath) =>
  parseNarInfo(readFileSync(join(cache, narInfoKey(path)), 'latin1'), defaultStoreDir);
const narIn = (cache: string, path: StorePath): string => join(cache, infoIn(cache, path).file.url);

/** Changes a field of a narinfo. */
function edit(cache: string, path: StorePath, field: string, value: string): void {
  const file = join(cache, narInfoKey(path));
  const text = readFileSync(file, 'latin1');
  writeFileSync(
    file,
    text.replace(new RegExp(`^${field}: .*$`, 'm'), `${field}: ${value}`),
    'latin1',
  );
}

test('a cache goes into a store, references first, as its narinfos say, and a second time nothing does', async () => {
  const { cache } = await scene();
  const daemon = await receivingDaemon();
  const { added, failed, held } = await run(await fromCache(cache), daemon.store);
  assert.deepEqual([added, failed.size, held], [4, 0, []]);
  const came = [...daemon.valid.keys()];
  assert.ok(came.indexOf(base) < came.indexOf(lib) && came.indexOf(lib) < came.indexOf(app));
  for (const [path, info] of daemon.valid) {
    const { file: _, text: __, ...said } = infoIn(cache, path);
    assert.deepEqual(info, said);
  }
  assert.equal(daemon.batches.length, 1);
  const again = await run(await fromCache(cache), daemon.store);
  assert.deepEqual([again.added, again.plan.present.size, daemon.batches.length], [0, 4, 1]);
});

test('a narinfo that cannot be read takes only what refers to it, unless the store has its path', async () => {
  const { cache } = await scene();
  const sound = readFileSync(join(cache, narInfoKey(lib)));
  writeFileSync(join(cache, narInfoKey(lib)), '<html>');
  const daemon = await receivingDaemon();
  const { plan, added, held } = await run(await fromCache(cache), daemon.store);
  assert.deepEqual([[...plan.broken.keys()], added, held], [[narInfoKey(lib)], 2, [app]]);
  const refused = run(await fromCache(cache, [lib]), daemon.store);
  await assert.rejects(refused, { code: 'malformed', message: /web page/ });
  writeFileSync(join(cache, narInfoKey(lib)), sound);
  await run(await fromCache(cache, [lib]), daemon.store);
  writeFileSync(join(cache, narInfoKey(lib)), '<html>');
  const last = await run(await fromCache(cache, [app]), daemon.store);
  assert.deepEqual([last.added, last.held, last.plan.broken.size], [1, [], 1]);
});

test('only what the store lacks of the closures goes', async () => {
  const { cache } = await scene();
  const daemon = await receivingDaemon();
  const first = await run(await fromCache(cache, [lib]), daemon.store);
  assert.deepEqual([first.added, [...daemon.valid.keys()]], [2, [base, lib]]);
  const { plan } = await run(await fromCache(cache, [app]), daemon.store);
  assert.deepEqual(
    [plan.roots, plan.moves.map(({ path }) => path), plan.present],
    [[app], [app], new Set([lib, base])],
  );
  assert.equal(plan.narBytes, infoIn(cache, app).narSize);
  assert.equal(plan.fileBytes, infoIn(cache, app).file.fileSize);
});

test('without its closure a path goes where the store has the rest, else nothing does', async () => {
  const { cache } = await scene();
  const daemon = await receivingDaemon();
  const alone = { noClosure: true };
  await assert.rejects(run(await fromCache(cache, [lib]), daemon.store, alone), {
    code: 'absent',
    message:
      /^Cannot copy .*-lib into unix:.*: it refers to .*-base, which does not come along and which the store has not/,
  });
  await run(await fromCache(cache, [base]), daemon.store, alone);
  await run(await fromCache(cache, [lib]), daemon.store, alone);
  assert.deepEqual([...daemon.valid.keys()], [base, lib]);
});

test('what is left out has to be in the store', async () => {
  const { cache } = await scene();
  const daemon = await receivingDaemon();
  const exclude = { caches: [], closures: new Map(), paths: new Set([baseName(base)]) };
  await assert.rejects(run(await fromCache(cache), daemon.store, { exclude }), {
    code: 'absent',
    message:
      /-lib into unix:.*: it refers to .*-base, which is left out and which the store has not/,
  });
  assert.deepEqual(daemon.batches, []);
  await run(await fromCache(cache, [base]), daemon.store);
  const { plan, added } = await run(await fromCache(cache), daemon.store, { exclude });
  assert.deepEqual([plan.excluded, added], [new Set([base]), 3]);
});

test('a cache of another store directory is a conflict', async () => {
  const { cache } = await scene();
  const { store } = await receivingDaemon();
  const elsewhere = { ...store, storeDir: '/gnu/store' as typeof store.storeDir };
  await assert.rejects(run(await fromCache(cache), elsewhere), {
    code: 'conflict',
    message: /paths of \/nix\/store into the store unix:.*: its paths are of \/gnu\/store/,
  });
});

for (const path of [base, lib])
  for (const [what, spoil, code, message] of [
    ['breaks off', (c: string) => truncateSync(narIn(c, path), 20), 'corrupt', /has the hash/],
    [
      'ends early',
      (c: string) => truncateSync(narIn(c, path), infoIn(c, path).file.fileSize! - 1),
      'corrupt',
      /has the hash/,
    ],
    [
      'is not that of its narinfo',
      (c: string) => edit(c, path, 'NarHash', sha256('other')),
      'corrupt',
      /holds a NAR with the hash/,
    ],
    [
      'is longer than its narinfo says',
      (c: string) => edit(c, path, 'NarSize', String(infoIn(c, path).narSize - 8)),
      'corrupt',
      /is not whole/,
    ],
    [
      'is shorter than its narinfo says',
      (c: string) => edit(c, path, 'NarSize', String(infoIn(c, path).narSize + 8)),
      'corrupt',
      /holds a NAR of \d+ bytes, and its narinfo says/,
    ],
    [
      'has another FileHash',
      (c: string) => edit(c, path, 'FileHash', sha256('x')),
      'corrupt',
      /has the hash/,
    ],
    ['is not there', (c: string) => rmSync(narIn(c, path)), 'corrupt', /is not there/],
    [
      'is under a wrong label',
      (c: string) => edit(c, path, 'Compression', 'xz'),
      'corrupt',
      /is zstd, and its narinfo says xz/,
    ],
    [
      'is of a kind that is not read',
      (c: string) => edit(c, path, 'Compression', 'lzip'),
      'usage',
      /its lzip cannot be read/,
    ],
    [
      'is no file',
      (c: string) => {
        const file = narIn(c, path);
        rmSync(file);
        mkdirSync(file);
      },
      'corrupt',
      /is not there/,
    ],
  ] as const)
    test(`a ${path === lib ? 'big' : 'small'} NAR that ${what} stays behind, with what needs it`, async () => {
      const { cache } = await scene();
      spoil(cache);
      for (const keys of [[], [key]]) {
        const daemon = await receivingDaemon();
        const { added, failed, held } = await run(await fromCache(cache), daemon.store, { keys });
        assert.deepEqual([...failed.keys()], [path]);
        const error = failed.get(path)!;
        assert.match(error.message, new RegExp(`^Cannot copy ${path} from .*: `));
        assert.match(error.message, message);
        assert.equal(error.code, code);
        assert.deepEqual(held, path === lib ? [app] : [lib, app]);
        const there = path === lib ? [base, other] : [other];
        assert.deepEqual([[...daemon.valid.keys()].sort(), added], [there, there.length]);
      }
    });

test('what a daemon is still adding when a NAR breaks off is not sent to it again', async () => {
  const { cache } = await scene();
  rmSync(narIn(cache, lib)); // big, so it is missed when its turn comes, while others are added
  const daemon = await receivingDaemon({ ms: 300 });
  const { added, failed } = await run(await fromCache(cache), daemon.store);
  assert.deepEqual([added, [...failed.keys()]], [2, [lib]]);
  assert.deepEqual(daemon.batches, [[base, lib], [other]]);
});

test('a path that the store does not trust is named, with what to do, and the rest goes', async () => {
  const { cache, store } = await scene();
  const refuses = ({ path }: { path: StorePath }) =>
    path === lib
      ? `cannot add path '${path}' because it lacks a signature by a trusted key`
      : undefined;
  const daemon = await receivingDaemon({ refuses });
  const { added, failed, held } = await run(await fromCache(cache), daemon.store);
  assert.deepEqual([added, held, failed.get(lib)!.code], [2, [app], 'untrusted']);
  assert.match(
    failed.get(lib)!.message,
    /^Cannot put \/nix\/store\/2+-lib into unix:\S+: it trusts no key that signed it \(test-1\); put the public key into trusted-public-keys there, or sign it by --sign FILE with a key that is trusted there$/,
  );
  const unsigned = await receivingDaemon({ refuses });
  const bare = await run(storeSupply(store, [app]), unsigned.store);
  assert.match(bare.failed.get(lib)!.message, /: nobody signed it; sign it by --sign FILE/);
});

for (const [words, code] of [
  ['hash mismatch importing path', 'corrupt'],
  ['the moon is full', 'unavailable'],
] as const)
  test(`a path that is refused by "${words}" is ${code}, and the rest goes`, async () => {
    const { cache } = await scene();
    const daemon = await receivingDaemon({
      refuses: ({ path }) => (path === base ? words : undefined),
    });
    const { added, failed, held } = await run(await fromCache(cache), daemon.store);
    assert.deepEqual([added, held, failed.get(base)!.code], [1, [lib, app], code]);
    assert.match(
      failed.get(base)!.message,
      new RegExp(`^Cannot put ${base} into .*says: ${words}`),
    );
  });

test('a full disk, or a daemon that goes, ends it, and the next run completes it', async () => {
  const { cache } = await scene();
  const full = await receivingDaemon({
    refuses: ({ path }) => (path === lib ? 'writing to file: No space left on device' : undefined),
  });
  await assert.rejects(run(await fromCache(cache), full.store), {
    code: 'unavailable',
    message: /No space left on device; free some space there/,
  });
  const gone = await receivingDaemon({
    meets: ({ path }, daemon) => {
      if (path === lib) daemon.stop();
    },
  });
  await assert.rejects(run(await fromCache(cache), gone.store), {
    code: 'unavailable',
    message: /Cannot (go on with|reach) the Nix daemon/,
  });
  const next = await receivingDaemon();
  for (const [path, info] of gone.valid) next.valid.set(path, info);
  assert.ok(next.valid.has(base));
  const { added, plan } = await run(await fromCache(cache), next.store);
  assert.equal(added + plan.present.size, 4);
  assert.equal(next.valid.size, 4);
});

test('a store that goes is asked how much of a batch it has, and it is told', async () => {
  const { cache } = await scene();
  const daemon = await receivingDaemon();
  const store: WritableStore = {
    ...daemon.store,
    add: async paths => {
      await daemon.store.add(paths.slice(0, 3));
      throw new GranaryError('unavailable', 'Cannot go on: it is gone', { stops: 'all' });
    },
  };
  await assert.rejects(run(await fromCache(cache), store), {
    code: 'unavailable',
    message: 'Cannot go on: it is gone',
    facts: { stops: 'all', done: 3, left: 1 },
  });
});

test('what goes is signed, once, by keys that are given', async () => {
  const { cache } = await scene();
  const more = parseSecretKey(generateKey('more-1').secret, 'test');
  const daemon = await receivingDaemon();
  await run(await fromCache(cache), daemon.store, { keys: [key, more] });
  for (const [path, info] of daemon.valid) {
    assert.deepEqual(info.signatures.map(each => each.replace(/:.*/, '')).sort(), [
      'more-1',
      'test-1',
    ]);
    assert.equal(fingerprint(info), fingerprint(infoIn(cache, path)));
  }
});

test('a store goes into another, but for what is not as it says, with what needs that', async () => {
  const { store, real } = await scene();
  const daemon = await receivingDaemon();
  const whole = await run(storeSupply(store, [app, other]), daemon.store);
  assert.deepEqual([whole.added, whole.failed.size], [4, 0]);
  for (const [path, spoil, why] of [
    [lib, (file: string) => writeFileSync(file, randomBytes(6_000_000)), /its NarHash is sha256:/],
    [
      base,
      (file: string) => writeFileSync(file, 'more than it was'),
      /has more than the 120 bytes that/,
    ],
    [other, (file: string) => rmSync(file), /Cannot read/],
  ] as const) {
    spoil(join(real, baseName(path)));
    const next = await receivingDaemon();
    const { failed, held, added } = await run(storeSupply(store, [path, other]), next.store);
    assert.ok(failed.has(path));
    assert.match(failed.get(path)!.message, why);
    assert.equal(failed.size + held.length + added, next.valid.size + failed.size + held.length);
    assert.ok(!next.valid.has(path));
  }
});

test('thousands of paths go in batches', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'file');
  writeFileSync(file, 'x');
  const nar = Buffer.concat([
    ...dumpTree(file, { block: () => Buffer.alloc(1 << 10), listing: false }),
  ]);
  const paths = Array.from({ length: 1000 }, (_, at) =>
    parseBaseName(`${String(at).padStart(32, '0')}-p`, defaultStoreDir),
  );
  const infos = paths.map((path, at) => ({
    path,
    narHash: sha256(nar),
    narSize: nar.length,
    references: paths.slice(Math.max(0, at - 3), at),
    signatures: [],
  }));
  const places = { storeDir: defaultStoreDir, real: folder, state: folder };
  const store = {
    ...graphStore('many', { infos, roots: paths }, places),
    content: () => ({ tree: file }),
  };
  const [bad] = paths.slice(500);
  const daemon = await receivingDaemon({
    refuses: ({ path }) => (path === bad ? 'no' : undefined),
  });
  const { added, held } = await run(storeSupply(store, paths), daemon.store);
  assert.deepEqual([added, held.length], [500, 499]);
  assert.equal(
    daemon.batches.length,
    8,
    'all that came before, and what was in its batch once more',
  );
});

test('a source far away that does not answer is given up, with what is left to do', async () => {
  const daemon = await receivingDaemon();
  let asked = 0;
  const infos = new Map(
    Array.from({ length: 60 }, (_, at) => {
      const path = parseBaseName(`${String(at).padStart(32, '0')}-x`, defaultStoreDir);
      return [path, { path, narHash: sha256(''), narSize: 120, references: [], signatures: [] }];
    }),
  );
  const supply: Supply = {
    url: 'https://cache.example',
    storeDir: defaultStoreDir,
    isFar: true,
    atOnce: 1,
    read: async () => ({ infos, roots: [] }),
    async *nar() {
      asked += 1;
      yield* [];
      throw new GranaryError('unavailable', 'Cannot read nar/x: the connection was refused');
    },
  };
  await assert.rejects(run(supply, daemon.store), {
    code: 'unavailable',
    message: /refused; so it was 16 times in a row; .* when it answers$/,
  });
  assert.equal(asked, 16);
});
