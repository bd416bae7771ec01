import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { codecs } from '../../src/cache/codec.ts';
import { GranaryError } from '../../src/errors.ts';
import { type FindingId, findingTable } from '../../src/flow/findings.ts';
import { type VerifyProgress, verify } from '../../src/flow/verify.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { baseName, hashPart } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { httpStorage } from '../../src/storage/http.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { usualRetry } from '../../src/storage/retry.ts';
import { bodyOf, type Storage } from '../../src/storage/storage.ts';
import { type Handler, serve } from '../storage/http-server.ts';
import { temporaryFolder } from '../temporary.ts';
import { gallery, Patient } from './damage.ts';
import { findingsIn, idsOf } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());

function copyOf(): string {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  return dir;
}

test('a whole cache has nothing wrong with it', async () => {
  const keys = [healthy.key.publicKey];
  assert.deepEqual(await findingsIn(healthy.cache, { keys, sigsNeeded: 1 }), []);
});

for (const [what, damage] of Object.entries(gallery)) {
  test(`verify finds ${what}, and nothing else`, async () => {
    const dir = copyOf();
    damage.do(new Patient(healthy, dir));
    assert.deepEqual(idsOf(await findingsIn(dir)), [...damage.finds].sort());
    assert.deepEqual(
      idsOf(await findingsIn(dir, { quick: true })),
      [...(damage.quick ?? damage.finds)].sort(),
    );
  });
}

test('every finding of the table is in the gallery, or is about signatures', () => {
  const reached = new Set(Object.values(gallery).flatMap(damage => damage.finds));
  const missing = Object.keys(findingTable).filter(id => !reached.has(id as never));
  assert.deepEqual(missing, ['signature-wrong', 'signature-missing']);
});

test('a warning is what no Nix fails by: all else is damage', () => {
  const warnings = Object.entries(findingTable).filter(([, [severity]]) => severity === 'warning');
  assert.deepEqual(
    warnings.map(([id]) => id),
    [
      ...['folder-unkept', 'narinfo-read-otherwise', 'file-size-unstated', 'compression-unread'],
      ...['listing-orphan', 'debuginfo-wrong', 'log-orphan', 'nar-orphan'],
      ...['temporary', 'stranger'],
    ],
  );
});

test('signatures: missing, wrong under a trusted name, not needed by what is content-addressed', async () => {
  const dir = copyOf();
  const patient = new Patient(healthy, dir);
  patient.edit('base', text => text.replace(/^Sig: .*\n/m, ''));
  patient.edit('plain', text => text.replace(/^Sig: .*\n/m, ''));
  patient.edit('app', text => text.replace(/^Sig: (.*?):./m, 'Sig: $1:+'));
  const keys = [healthy.key.publicKey];
  const found = await findingsIn(dir, { keys, sigsNeeded: 1, quick: true });
  const { base, app } = healthy.paths;
  assert.deepEqual(
    found.map(({ id, path }) => [id, path]).sort(),
    [
      ['signature-missing', base],
      ['signature-missing', app],
      ['signature-wrong', app],
    ].sort(),
  );
  const other = parseSecretKey(generateKey('other-1').secret, 'x').publicKey;
  const two = await findingsIn(copyOf(), { keys: [...keys, other], sigsNeeded: 2, quick: true });
  assert.deepEqual([...new Set(idsOf(two))], ['signature-missing']);
});

test('with another cache that has the rest, a cache with holes is whole', async () => {
  const dir = copyOf();
  gallery['a reference without a narinfo']!.do(new Patient(healthy, dir));
  const also = [directoryStorage(healthy.cache)];
  assert.deepEqual(idsOf(await findingsIn(dir, { also })), ['listing-orphan']);
});

test('holes that other caches fill one each are whole only with them all', async () => {
  const dir = copyOf();
  const patient = new Patient(healthy, dir);
  patient.field('twin', 'References', baseName(healthy.paths.plain));
  const others = new Map<Name, Storage>();
  for (const name of ['base', 'plain'] as const) {
    const other = memoryStorage();
    await other.put(patient.key(name), bodyOf(patient.text(name)));
    others.set(name, other);
    rmSync(patient.file(patient.key(name)));
  }
  for (const [has, ...lacks] of [
    [['base', 'plain']],
    [['plain', 'base']],
    [['base'], 'plain'],
    [['plain'], 'base'],
  ] as const) {
    const also = has.map(name => others.get(name)!);
    const holes = (await findingsIn(dir, { also })).filter(({ id }) => id === 'reference-missing');
    assert.deepEqual(
      holes.map(({ path }) => path),
      lacks.map(name => healthy.paths[name]),
    );
  }
});

test('another cache has a path only by a narinfo that reads, and is of that path', async () => {
  const dir = copyOf();
  gallery['a reference without a narinfo']!.do(new Patient(healthy, dir));
  for (const change of ['an other name', 'nothing'] as const) {
    const elsewhere = copyOf();
    new Patient(healthy, elsewhere).edit('base', text =>
      change === 'nothing' ? '' : text.replace('-base', '-case'),
    );
    const also = [directoryStorage(elsewhere)];
    assert.deepEqual(idsOf(await findingsIn(dir, { also })), [
      'listing-orphan',
      'reference-missing',
    ]);
  }
});

test('with roots, named in any way, only their closures are looked at', async () => {
  const dir = copyOf();
  const patient = new Patient(healthy, dir);
  gallery['a NAR cut short']!.do(patient);
  gallery['an empty narinfo']!.do(patient);
  gallery['something else']!.do(patient);
  const { app, lib, twin } = healthy.paths;
  for (const root of [lib, `${lib}/`, baseName(lib), hashPart(lib)])
    assert.deepEqual(await findingsIn(dir, { roots: [root] }), []);
  assert.deepEqual(idsOf(await findingsIn(dir, { roots: [app, lib] })), [
    ...['nar-hash-wrong', 'nar-malformed', 'nar-size-wrong'],
  ]);
  assert.deepEqual(idsOf(await findingsIn(dir, { roots: [twin] })), ['narinfo-malformed']);
  for (const [root, code] of [
    [`/nix/store/${'8'.repeat(32)}-x`, 'absent'],
    [`${lib}-other`, 'absent'],
    ['x', 'usage'],
    ['', 'usage'],
  ] as const)
    await assert.rejects(findingsIn(dir, { roots: [root] }), { code }, root);
});

test('what roots refer to and cannot be read is found', async () => {
  const dir = copyOf();
  new Patient(healthy, dir).edit('base', () => '');
  const { lib } = healthy.paths;
  assert.deepEqual(idsOf(await findingsIn(dir, { roots: [lib] })), [
    'narinfo-malformed',
    'reference-missing',
  ]);
});

test('a debuginfo file that leads to a file of a NAR is right', async () => {
  const dir = copyOf();
  const patient = new Patient(healthy, dir);
  patient.link({ archive: `../${patient.url('lib')}`, member: 'lib/lib.so' });
  assert.deepEqual(await findingsIn(dir), []);
});

test('logs of derivers, realisations, an index page and all that is ours belong to a cache', async () => {
  const dir = copyOf();
  const log = `log/${baseName(healthy.paths.app)}.drv`;
  for (const key of [log, 'index.html', 'granary/roots/x.json', 'realisations/x!out.doi']) {
    mkdirSync(join(dir, key, '..'), { recursive: true });
    writeFileSync(join(dir, key), '');
  }
  mkdirSync(join(dir, 'lost+found'));
  writeFileSync(join(dir, 'lost+found/#1'), '');
  assert.deepEqual(await findingsIn(dir), []);
});

test('every compression that we write is read, and nothing is found', async () => {
  for (const [compression, { compressPiece, compressStream, levels }] of Object.entries(codecs)) {
    const dir = copyOf();
    const patient = new Patient(healthy, dir);
    const nar = zstdDecompressSync(readFileSync(patient.file(patient.url('lib'))));
    const packed = compressPiece
      ? await compressPiece(nar, levels?.min ?? 0)
      : Buffer.concat(await Array.fromAsync(compressStream!([nar], levels!.min)));
    patient.repack(
      'lib',
      nar => nar,
      () => Buffer.from(packed),
    );
    patient.field('lib', 'Compression', compression);
    assert.deepEqual(await findingsIn(dir), [], compression);
  }
});

test('progress ends at all bytes and all paths, and the verdict counts what was read', async () => {
  const dir = copyOf();
  const events: VerifyProgress[] = [];
  const verdict = await verify(directoryStorage(dir), {
    quick: false,
    keys: [],
    sigsNeeded: 0,
    jobs: 2,
    report: event => {
      if ('progress' in event) events.push(event);
    },
  });
  const { narBytes, totalNarBytes, paths, totalPaths } = events.at(-1)!.progress;
  assert.deepEqual([narBytes, paths, totalPaths], [totalNarBytes, 5, 5]);
  const { narInfos, narFiles, damage, warnings } = verdict.totals;
  assert.deepEqual([narInfos, narFiles, damage, warnings], [5, 4, 0, 0]);
  assert.equal(verdict.totals.narBytes, totalNarBytes);
});

test('a storage that cannot be listed cannot be verified without roots', async () => {
  const { inventory: _, ...blind } = directoryStorage(healthy.cache);
  await assert.rejects(findingsIn(blind), { code: 'usage', message: /name ROOTs/ });
});

/** As a web server gives it: nothing can be listed. */
async function servedFrom(dir: string, handler?: Handler): Promise<Storage> {
  const { url } = await serve(dir, handler);
  const clock = { ...usualRetry.clock, sleep: async () => {} };
  return httpStorage(url, { env: { HOME: '/nowhere' }, retry: { ...usualRetry, clock } });
}

const { app, twin, plain } = healthy.paths;
const roots = [app, twin, plain];

test('of a whole cache behind HTTP the closures of roots are proven, with their signatures', async () => {
  const keys = [healthy.key.publicKey];
  const served = await servedFrom(healthy.cache);
  assert.deepEqual(await findingsIn(served, { roots, keys, sigsNeeded: 1 }), []);
  const other = [parseSecretKey(generateKey('other-1').secret, 'x').publicKey];
  const unsigned = await findingsIn(served, { roots: [app], keys: other, sigsNeeded: 1 });
  assert.deepEqual(idsOf(unsigned), Array(3).fill('signature-missing'));
  const asked = { roots, quick: false, keys: [], sigsNeeded: 0, jobs: 2, report: () => {} };
  const { totals } = await verify(served, asked);
  assert.deepEqual([totals.narInfos, totals.narFiles], [5, 4]);
  assert.ok(totals.narBytes > 5000);
});

/** What over HTTP is another thing than in a folder: there a URL is followed, and links are the server's to open. */
const otherwise: Readonly<Record<string, readonly FindingId[]>> = {
  'a link out of the cache in the place of all NAR files': [],
  'a URL with a query': [],
};
const ofFolders = /^folder-/;
/** Not answered by the tests' server, or asked of the world's. */
const unserved = new Set(['a narinfo that is longer than any', 'a URL of the web']);
for (const [what, damage] of Object.entries(gallery))
  if (!unserved.has(what))
    test(`verify by roots finds ${what} over HTTP as in the folder, but for what only a list can tell`, async () => {
      const dir = copyOf();
      damage.do(new Patient(healthy, dir));
      const served = await servedFrom(dir);
      for (const quick of [false, true]) {
        let here: readonly string[];
        try {
          here = idsOf(await findingsIn(dir, { roots, quick }));
        } catch (error) {
          if (!(error instanceof GranaryError)) throw error;
          await assert.rejects(findingsIn(served, { roots, quick }), { code: error.code });
          continue;
        }
        const expected = otherwise[what] ?? here.filter(id => !ofFolders.test(id));
        assert.deepEqual(idsOf(await findingsIn(served, { roots, quick })), expected);
      }
    });

test('a NAR over HTTP lies where its URL leads, or is damage; the cache itself has to answer', async () => {
  const elsewhere = await serve(healthy.cache);
  const patient = new Patient(healthy, copyOf());
  const { lib } = healthy.paths;
  const url = patient.url('lib');
  for (const [value, ids] of [
    [`${elsewhere.url}/${url}`, []],
    [`${elsewhere.url}/gone`, ['url-unsafe']],
    ['http://127.0.0.1:9/x', ['unreadable']],
    ['ftp://x/y', ['unreadable']],
    ['nar/a b.nar', ['url-unsafe']],
    ['nar/x%2ey', ['nar-missing']],
  ] as const) {
    patient.field('lib', 'URL', value);
    const served = await servedFrom(patient.dir);
    for (const quick of [false, true])
      assert.deepEqual(idsOf(await findingsIn(served, { roots: [lib], quick })), ids, value);
  }
  patient.field('lib', 'URL', url);
  const circle: Handler = (request, reply, { pass }) =>
    request.url!.endsWith(url) ? reply.writeHead(302, { location: request.url }).end() : pass();
  const led = await findingsIn(await servedFrom(patient.dir, circle), { roots: [lib] });
  assert.deepEqual(
    led.map(({ id, path }) => [id, path]),
    [['unreadable', lib]],
  );
  const down: Handler = (request, reply, { pass }) =>
    request.url!.includes('/nar/') ? reply.writeHead(503).end() : pass();
  for (const own of [url, `${url}?hash=1`, `nar/..%2f${url}`]) {
    patient.field('lib', 'URL', own);
    const unanswered = findingsIn(await servedFrom(patient.dir, down), { roots: [lib] });
    await assert.rejects(unanswered, { code: 'unavailable' }, own);
  }
});

test('a NAR that was put while the cache was listed is not missing; one behind a link is', async () => {
  const late = new Patient(healthy, copyOf());
  const storage = directoryStorage(late.dir);
  const blind: Storage = {
    ...storage,
    async *inventory() {
      for await (const thing of storage.inventory!())
        if (thing.key !== late.url('lib')) yield thing;
    },
  };
  assert.deepEqual(await findingsIn(blind), []);
  const linked = new Patient(healthy, copyOf());
  renameSync(linked.file('nar'), `${linked.dir}-nar`);
  symlinkSync(`${linked.dir}-nar`, linked.file('nar'));
  const missing = (await findingsIn(linked.dir)).filter(({ id }) => id === 'nar-missing');
  assert.equal(missing.length, Object.keys(healthy.paths).length);
});
