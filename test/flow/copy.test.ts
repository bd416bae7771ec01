import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { executeCopy } from '../../src/flow/copy.ts';
import { type CopyWish, planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded, parsePathList } from '../../src/flow/exclude.ts';
import { executeMake } from '../../src/flow/make.ts';
import { planMake } from '../../src/flow/plan.ts';
import { sha256 } from '../../src/format/hash.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import { narInfoKey, parseNarInfo } from '../../src/format/narinfo.ts';
import { baseName, defaultStoreDir } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { contentOf, proofOf, temporariesIn } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { Patient } from './damage.ts';
import { findingsIn } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());

function patientOf(): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

const fresh = (): string => join(temporaryFolder(), 'copy');
const stored = (cache: string | Storage): Storage =>
  typeof cache === 'string' ? directoryStorage(cache) : cache;

interface Options extends Partial<CopyWish> {
  readonly keys?: readonly SecretKey[];
  readonly link?: boolean;
}

async function copy(from: string | Storage, to: string | Storage, options: Options = {}) {
  const { keys = [], link = false, ...wish } = options;
  const [source, target] = [stored(from), stored(to)];
  const plan = await planCopy(source, target, {
    noClosure: false,
    exclude: nothingExcluded,
    prefer: 'nobody',
    ...wish,
  });
  const done = await executeCopy(plan, source, target, {
    cacheInfo: {},
    keys,
    link,
    closedBy: wish.exclude?.caches.map(({ url }) => url) ?? [],
    jobs: 2,
    report: () => {},
  });
  return { plan, ...done };
}

const narInfosIn = (dir: string): readonly string[] =>
  readdirSync(dir)
    .filter(name => name.endsWith('.narinfo'))
    .sort();
const keysOf = (...names: readonly Name[]): readonly string[] => {
  const patient = new Patient(healthy, healthy.cache);
  return names.map(name => patient.key(name)).sort();
};

test('a copy of everything has the same files, and a second one changes none', async () => {
  const source = patientOf();
  source.edit('plain', text => `${text}Own:  line \n`);
  mkdirSync(source.file('log'), { recursive: true });
  writeFileSync(source.file(`log/${source.base('lib')}.drv`), 'built');
  writeFileSync(source.file('log/of-nobody.drv'), 'other');
  source.link({ archive: `../${source.url('lib')}`, member: 'lib/lib.so' });
  writeFileSync(
    source.file(`realisations/sha256:${'ab'.repeat(32)}!out.doi`),
    JSON.stringify({ outPath: source.base('app') }),
  );
  const to = fresh();
  const first = await copy(source.dir, to);
  assert.deepEqual([first.moved, first.sideFiles, first.failed.size], [5, 3, 0]);
  const { 'nix-cache-info': _, 'log/of-nobody.drv': __, ...expected } = contentOf(source.dir);
  const { 'nix-cache-info': info, ...copied } = contentOf(to);
  assert.ok(info);
  assert.deepEqual(copied, expected);
  const before = statSync(join(to, source.key('lib'))).mtimeMs;
  const second = await copy(source.dir, to);
  assert.deepEqual([second.moved, second.united, second.sideFiles], [0, 0, 0]);
  assert.equal(statSync(join(to, source.key('lib'))).mtimeMs, before);
  assert.deepEqual(await findingsIn(to), []);
});

test('nothing is decompressed: noise under right file hashes is copied, and verify says so', async () => {
  const source = patientOf();
  const noise = Buffer.from('noise '.repeat(1000));
  writeFileSync(source.file(source.url('lib')), noise);
  source.field('lib', 'FileHash', sha256(noise));
  source.field('lib', 'FileSize', String(noise.length));
  const to = fresh();
  assert.equal((await copy(source.dir, to)).failed.size, 0);
  assert.deepEqual(
    (await findingsIn(to)).map(({ id }) => id),
    ['data-malformed'],
  );
  const key = parseSecretKey(generateKey('new-1').secret, 'test');
  const signed = await copy(source.dir, fresh(), { keys: [key] });
  assert.deepEqual([...signed.failed.keys()], [healthy.paths.lib], 'what is signed is proven');
});

test('a file that is not what its narinfo says stays behind, with what refers to it', async () => {
  for (const [spoil, message] of [
    [(p: Patient) => writeFileSync(p.file(p.url('lib')), 'x'), /has 1 bytes, its narinfo says/],
    [
      (p: Patient) => {
        const bytes = readFileSync(p.file(p.url('lib')));
        bytes[30]! ^= 1;
        writeFileSync(p.file(p.url('lib')), bytes);
      },
      /has the hash sha256:.*, its narinfo says/,
    ],
    [(p: Patient) => rmSync(p.file(p.url('lib'))), /is not there/],
  ] as const)
    for (const target of [fresh(), memoryStorage()]) {
      const source = patientOf();
      spoil(source);
      const { failed, held, moved } = await copy(source.dir, target);
      assert.deepEqual([...failed.keys()], [healthy.paths.lib]);
      assert.match(failed.get(healthy.paths.lib)!.message, message);
      assert.equal(failed.get(healthy.paths.lib)!.code, 'corrupt');
      assert.deepEqual([held, moved], [[healthy.paths.app], 3]);
      if (typeof target !== 'string') continue;
      assert.deepEqual(temporariesIn(target), []);
      assert.deepEqual((await proofOf(target)).faults, []);
      assert.deepEqual(narInfosIn(target), keysOf('base', 'twin', 'plain'));
    }
});

test('from a storage that is elsewhere, and to one, the files are the same', async () => {
  const memory = memoryStorage();
  const to = fresh();
  assert.equal((await copy(healthy.cache, memory)).moved, 5);
  assert.equal((await copy(memory, to)).moved, 5);
  const { 'nix-cache-info': _, ...expected } = contentOf(healthy.cache);
  const { 'nix-cache-info': __, ...copied } = contentOf(to);
  assert.deepEqual(copied, expected);
});

test('roots bring their closures, named by path, base name or hash part', async () => {
  for (const root of [
    healthy.paths.app,
    baseName(healthy.paths.app),
    baseName(healthy.paths.app).slice(0, 32),
  ]) {
    const to = fresh();
    await copy(healthy.cache, to, { roots: [root] });
    assert.deepEqual(narInfosIn(to), keysOf('app', 'lib', 'base'));
  }
  for (const [root, code] of [
    ['9'.repeat(32), 'absent'],
    [`${baseName(healthy.paths.app)}-not`, 'absent'],
    ['hello', 'usage'],
  ] as const)
    await assert.rejects(copy(healthy.cache, fresh(), { roots: [root] }), { code });
});

test('without closure the rest has to be there, or in a cache that is left out', async () => {
  const wish = { roots: [healthy.paths.app], noClosure: true };
  const to = fresh();
  await assert.rejects(copy(healthy.cache, to, wish), {
    code: 'absent',
    message:
      /-app from .* refers to .*-lib, which neither comes along nor is in the target; name a cache that has it by --with$/,
  });
  assert.ok(!existsSync(to), 'nothing was written');
  const { plan } = await copy(healthy.cache, to, {
    ...wish,
    exclude: { ...nothingExcluded, paths: new Set([baseName(healthy.paths.lib)]) },
  });
  assert.deepEqual(plan.excluded, new Set([healthy.paths.lib]));
  assert.deepEqual(narInfosIn(to), keysOf('app'));
  for (const closer of [healthy.cache, memoryStorage()]) {
    const closed = fresh();
    const exclude = { ...nothingExcluded, closers: [stored(closer)] };
    if (typeof closer !== 'string')
      await assert.rejects(copy(healthy.cache, closed, { ...wish, exclude }), { code: 'absent' });
    await copy(healthy.cache, closer, { roots: [healthy.paths.app] });
    const { plan, moved } = await copy(healthy.cache, closed, { ...wish, exclude });
    assert.deepEqual([moved, plan.excluded], [1, new Set([healthy.paths.lib])]);
    assert.deepEqual(narInfosIn(closed), keysOf('app'), 'though who closes it has that too');
    assert.deepEqual(await findingsIn(closed, { also: [stored(closer)] }), []);
  }
  const other = fresh();
  await copy(healthy.cache, other, { roots: [healthy.paths.lib] });
  await copy(healthy.cache, other, wish);
  assert.deepEqual((await proofOf(other)).faults, []);
});

test('what another cache has with the same NAR is left out, and the union is whole', async () => {
  const [base, rest] = [fresh(), fresh()];
  await copy(healthy.cache, base, { roots: [healthy.paths.lib] });
  const { plan } = await copy(healthy.cache, rest, {
    exclude: { ...nothingExcluded, caches: [stored(base)] },
  });
  assert.deepEqual(plan.excluded, new Set([healthy.paths.base, healthy.paths.lib]));
  assert.deepEqual(narInfosIn(rest), keysOf('app', 'twin', 'plain'));
  const [hole, ...others] = await findingsIn(rest);
  assert.deepEqual([hole?.id, others], ['reference-missing', []]);
  assert.ok(hole!.message.endsWith(`; granary/closed-by.json names ${base}`), hole!.message);
  assert.deepEqual(await findingsIn(rest, { also: [stored(base)] }), []);
});

test('a cache that others close names them all, and the union of all is whole, in any order', async () => {
  const [base, mid, top] = [fresh(), fresh(), fresh()];
  const { paths } = healthy;
  for (const [to, root, ...others] of [
    [base, paths.base],
    [mid, paths.lib, '--exclude', base],
    [top, paths.app, '--exclude', mid, '--exclude', base],
  ] as const) {
    const made = await granary(['copy', '--from', healthy.cache, '--to', to, ...others, root]);
    assert.equal(made.code, 0, made.stderr);
  }
  assert.deepEqual(narInfosIn(top), keysOf('app'));
  const closedBy: unknown = JSON.parse(readFileSync(join(top, 'granary/closed-by.json'), 'utf8'));
  assert.deepEqual(closedBy, [base, mid].sort());
  for (const [code, ...others] of [
    [1, base],
    [0, base, mid],
    [0, mid, base],
  ] as const) {
    const union = others.flatMap(other => ['--with', other]);
    const { code: exit, stdout } = await granary(['verify', ...union, top]);
    assert.equal(exit, code, stdout);
  }
});

test('a list of paths is read by lines, and says which it cannot', () => {
  const text = `# those of the image\n\n${healthy.paths.lib}\n  ${baseName(healthy.paths.app)}\r\n`;
  assert.deepEqual(
    parsePathList(text, defaultStoreDir, 'list'),
    new Set([baseName(healthy.paths.lib), baseName(healthy.paths.app)]),
  );
  assert.throws(() => parsePathList('\nnonsense\n', defaultStoreDir, 'list'), {
    code: 'malformed',
    message: /^Cannot read line 2 of list as a store path/,
  });
});

test('signatures of both sides are kept, of what is there and of what moves', async () => {
  const [mine, other] = ['new-1', 'other-1'].map(name =>
    parseSecretKey(generateKey(name).secret, 'test'),
  );
  const to = fresh();
  await copy(healthy.cache, to, { roots: [healthy.paths.lib], keys: [mine!] });
  const source = patientOf();
  for (const name of ['lib', 'base'] as const)
    source.edit(name, text => text.replace(/^Sig: .*\n/m, ''));
  const again = fresh();
  await copy(source.dir, again, { roots: [healthy.paths.lib], keys: [other!] });
  const { united } = await copy(to, again);
  assert.equal(united, 2);
  const keys = [healthy.key, mine!, other!].map(({ publicKey }) => publicKey);
  assert.deepEqual(await findingsIn(again, { keys, sigsNeeded: 3 }), []);
});

test('one path with two NARs is a conflict: nothing is overwritten, unless the source is preferred', async () => {
  const source = patientOf();
  source.repack('lib', bytes => bytes.fill('z', 200, 210));
  const nar = zstdDecompressSync(readFileSync(source.file(source.url('lib'))));
  source.field('lib', 'NarHash', sha256(nar));
  const to = fresh();
  await copy(healthy.cache, to);
  const before = contentOf(to);
  const { plan } = await copy(source.dir, to);
  assert.deepEqual(
    plan.conflicts.map(({ path }) => path),
    [healthy.paths.lib],
  );
  assert.deepEqual(contentOf(to), before);
  const { moved } = await copy(source.dir, to, { prefer: 'source' });
  assert.equal(moved, 1);
  const narHash = (dir: string) =>
    parseNarInfo(readFileSync(join(dir, source.key('lib')), 'latin1'), defaultStoreDir).narHash;
  assert.equal(narHash(to), narHash(source.dir));
});

test('with link the files are shared', async () => {
  const to = join(healthy.cache, '..', 'linked');
  await copy(healthy.cache, to, { link: true });
  const url = new Patient(healthy, healthy.cache).url('lib');
  assert.equal(statSync(join(to, url)).ino, statSync(join(healthy.cache, url)).ino);
  assert.deepEqual(await findingsIn(to), []);
});

test('a URL that not every Nix or storage can read becomes a plain one', async () => {
  const source = patientOf();
  cpSync(source.file(source.url('lib')), source.file('nar/a b.nar.zst'));
  source.field('lib', 'URL', 'nar/a b.nar.zst');
  const to = fresh();
  await copy(source.dir, to);
  assert.match(new Patient(healthy, to).url('lib'), /^nar\/[0-9a-z]{52}\.nar\.zst$/);
  assert.deepEqual(await findingsIn(to), []);
  source.field('lib', 'URL', '../out.nar.zst');
  const { failed } = await copy(source.dir, fresh());
  assert.equal(failed.get(healthy.paths.lib)?.code, 'malformed');
});

const spoilt = {
  'is none': (p: Patient) => p.edit('lib', () => '<html>'),
  'lies in the wrong place': (p: Patient) => writeFileSync(p.file(p.key('lib')), p.text('base')),
};
for (const [what, spoil] of Object.entries(spoilt))
  test(`a narinfo that ${what} takes only what refers to it, and ends the copy where it is all that is asked for`, async () => {
    const source = patientOf();
    spoil(source);
    const { base, lib, app, plain, twin } = healthy.paths;
    const to = fresh();
    const { plan, moved, held, failed } = await copy(source.dir, to);
    assert.deepEqual([moved, held, failed.size], [3, [app], 0]);
    assert.deepEqual([...plan.broken.keys()], [source.key('lib')]);
    assert.match(
      plan.broken.get(source.key('lib'))!.message,
      /^Cannot (read|use) .*\b2{32}\.narinfo/,
    );
    assert.deepEqual([...(await proofOf(to)).faults], []);
    for (const path of [base, plain, twin]) assert.ok(existsSync(join(to, narInfoKey(path))));
    assert.equal(readdirSync(join(to, 'nar')).length, 1 + 2); // beside KEEP; base and twin are one

    const part = await copy(source.dir, fresh(), { roots: [app, plain] });
    assert.deepEqual([part.moved, part.held], [1, [app]]);
    const there = await copy(source.dir, patientOf().dir); // the target has what is broken
    assert.deepEqual([there.moved, there.held, there.plan.broken.size], [0, [], 1]);
    const half = fresh();
    await copy(healthy.cache, half, { roots: [lib] });
    const onto = await copy(source.dir, half);
    assert.deepEqual([onto.held, onto.moved], [[], 3]);
    assert.deepEqual(await findingsIn(half), []);

    const nowhere = fresh();
    const refused = { code: 'malformed', message: /2{32}\.narinfo/ };
    await assert.rejects(copy(source.dir, nowhere, { roots: [plain, lib] }), refused);
    for (const name of ['app', 'base', 'plain', 'twin'] as const) source.edit(name, () => 'x');
    const all = {
      code: 'malformed',
      message: /^Cannot use 5 narinfos of .*1{32}.*2{32}.*3{32}.*4{32}/,
    };
    await assert.rejects(copy(source.dir, nowhere), all);
    assert.ok(!existsSync(nowhere));
  });

test('the command tells each narinfo that cannot be used, copies the rest, and ends with 4', async () => {
  const source = patientOf();
  source.edit('lib', () => 'x');
  source.edit('twin', () => '<html>');
  const ends = ['--from', source.dir, '--to', fresh()];
  for (const args of [
    ['copy', '--dry-run', ...ends],
    ['copy', ...ends],
  ]) {
    const { code, stdout, stderr } = await granary(args);
    assert.equal(code, 4, stdout);
    assert.match(stderr, /2{32}\.narinfo, line 1: there is no colon/);
    assert.match(stderr, /4{32}\.narinfo: it is a web page/);
    assert.match(stdout, /2 paths.*, 2 narinfos cannot be used, 1 path held back/);
  }
  for (const args of [['info'], ['size'], ['diff', healthy.cache]]) {
    const { code, stderr } = await granary([...args, source.dir]);
    assert.equal(code, 4);
    assert.match(stderr, /Cannot use 2 narinfos of .*2{32}.*4{32}/);
  }
});

test('the command copies, plans, and says what it cannot', async () => {
  const to = fresh();
  const planned = await granary(['copy', '--dry-run', '--from', healthy.cache, '--to', to]);
  assert.equal(planned.code, 0);
  assert.match(planned.stdout, /^Would copy 5 paths \(.*\) into .*; 0 paths already there\.$/m);
  assert.ok(!existsSync(to));
  const done = await granary(['copy', '--from', healthy.cache, '--to', to]);
  assert.equal(done.code, 0);
  assert.match(done.stdout, /: 5 paths copied, .*, 0 paths already there; .* s\.$/m);
  for (const [args, code, message] of [
    [['copy', '--to', to], 2, /without both ends/],
    [['copy', '--from', to, '--to', to], 2, /to itself/],
    [['copy', '--from', join(to, 'nothing'), '--to', to], 3, /there is nothing of that name/],
    [
      ['copy', '--from', to, '--to', fresh(), 'x'],
      2,
      /"x" in the cache .*nor leads to a store path/,
    ],
  ] as const) {
    const { code: exit, stderr } = await granary(args);
    assert.equal(exit, code, stderr);
    assert.match(stderr, message);
  }
});

test('make leaves out what another cache has with the same NAR, and remembers who closes it', async () => {
  const [base, rest] = [fresh(), fresh()];
  await copy(healthy.cache, base, { roots: [healthy.paths.lib] });
  const storage = stored(rest);
  const exclude = { ...nothingExcluded, caches: [stored(base)] };
  const sources = [{ store: healthy.store, roots: [healthy.paths.app] }];
  const settings = { storeDir: defaultStoreDir, listings: false };
  const plan = await planMake(sources, storage, { ...settings, exclude });
  assert.deepEqual(plan.excluded, new Set([healthy.paths.base, healthy.paths.lib]));
  const made = await executeMake(plan, storage, {
    ...settings,
    compression: 'zstd',
    level: 3,
    keys: [],
    cacheInfo: {},
    closedBy: [base],
    jobs: 1,
    report: () => {},
  });
  assert.deepEqual([made.added, made.held], [1, []]);
  assert.deepEqual(JSON.parse(readFileSync(join(rest, 'granary/closed-by.json'), 'utf8')), [base]);
  assert.deepEqual(await findingsIn(rest, { also: [stored(base)] }), []);
  const again = await planMake(sources, stored(fresh()), {
    ...settings,
    exclude: { ...nothingExcluded, paths: new Set([baseName(healthy.paths.base)]) },
  });
  assert.deepEqual(again.excluded, new Set([healthy.paths.base]));
});
