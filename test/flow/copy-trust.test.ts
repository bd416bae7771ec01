/** Copy believes nothing that a source says, and a target keeps what it has. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { collect } from '../../src/bytes.ts';
import { GranaryError } from '../../src/errors.ts';
import { executeCopy } from '../../src/flow/copy.ts';
import { type CopyWish, planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { Patience } from '../../src/flow/patience.ts';
import { sha256 } from '../../src/format/hash.ts';
import { generateKey, parseSecretKey, type SecretKey } from '../../src/format/key.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { bodyOf, type Found, type Storage } from '../../src/storage/storage.ts';
import { contentOf, temporariesIn } from '../cache/proof.ts';
import { temporaryFolder } from '../temporary.ts';
import { Patient } from './damage.ts';
import { findingsIn, idsOf } from './found.ts';
import { makeHealthy } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());
const { lib, app, plain } = healthy.paths;
const key = parseSecretKey(generateKey('new-1').secret, 'test');

function patientOf(cache = healthy.cache): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(cache, dir, { recursive: true });
  return new Patient(healthy, dir);
}

const fresh = (): string => join(temporaryFolder(), 'copy');
const stored = (cache: string | Storage): Storage =>
  typeof cache === 'string' ? directoryStorage(cache) : cache;

interface Options extends Partial<CopyWish> {
  readonly keys?: readonly SecretKey[];
  readonly link?: boolean;
  readonly closedBy?: readonly string[];
}

async function copy(from: string | Storage, to: string | Storage, options: Options = {}) {
  const { keys = [], link = false, closedBy = [], ...wish } = options;
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
    closedBy,
    jobs: 2,
    report: () => {},
  });
  return { plan, ...done };
}

/** The same cache as one that is not on this machine. */
async function elsewhere(dir: string): Promise<Storage> {
  const storage = memoryStorage();
  for await (const { key: name } of directoryStorage(dir).list!(''))
    await storage.put(name, bodyOf(readFileSync(join(dir, name))));
  return storage;
}

/** Not a NAR of what was held. */
const damageIn = async (dir: string): Promise<readonly string[]> =>
  idsOf(await findingsIn(dir)).filter(id => id !== 'nar-orphan');

const flipped = (file: string): Buffer => {
  const bytes = readFileSync(file);
  bytes[bytes.length - 9]! ^= 1;
  return bytes;
};

test('a file is named by its hash: no name of the source can replace what the target has, or run into a limit', async () => {
  const target = fresh();
  await copy(healthy.cache, target, { roots: [plain] });
  const taken = basename(new Patient(healthy, target).url('plain'));
  for (const name of [taken, 'x.nar.tmp-h-1-1', 'KEEP', `${'x'.repeat(230)}.nar.zst`])
    for (const link of [false, true])
      for (const prefer of ['nobody', 'source'] as const) {
        const source = patientOf();
        const file = source.file(source.url('lib'));
        const bytes = readFileSync(file);
        rmSync(source.file(source.url('plain')));
        rmSync(source.file(source.key('plain')));
        writeFileSync(source.file(`nar/${name}`), bytes);
        source.field('lib', 'URL', `nar/${name}`);
        const to = patientOf(target).dir;
        const { failed } = await copy(source.dir, to, { roots: [lib], link, prefer });
        assert.equal(failed.size, 0);
        assert.equal(new Patient(healthy, to).url('lib'), `nar/${basename(file)}`);
        assert.deepEqual(await findingsIn(to), [], name);
      }
});

test('with link, a file of that name and size that the target has is kept: nobody read the other', async () => {
  const source = patientOf();
  const to = fresh();
  const url = source.url('lib');
  mkdirSync(join(to, 'nar'), { recursive: true });
  cpSync(source.file('nix-cache-info'), join(to, 'nix-cache-info'));
  cpSync(source.file(url), join(to, url));
  writeFileSync(source.file(url), flipped(source.file(url)));
  const { failed, unread } = await copy(source.dir, to, { link: true });
  assert.deepEqual([failed.size, unread], [0, 5]);
  assert.deepEqual(await findingsIn(to), []);

  const again = patientOf(to);
  rmSync(again.file(again.key('app')));
  const signed = await copy(healthy.cache, again.dir, { link: true, keys: [key] });
  assert.deepEqual([signed.failed.size, signed.moved, signed.unread], [0, 1, 0]);
});

test('what has no FileHash is proven all the same: by its NarHash, with or without a compression', async () => {
  for (const compression of ['none', 'zstd'])
    for (const from of ['here', 'elsewhere'])
      for (const link of [false, true])
        for (const isWrong of [false, true]) {
          const source = patientOf();
          const url = source.url('lib');
          if (compression === 'none') {
            const nar = zstdDecompressSync(readFileSync(source.file(url)));
            writeFileSync(source.file(url), nar);
            source.field('lib', 'Compression', 'none');
          }
          source.edit('lib', text => text.replace(/^File(Hash|Size): .*\n/gm, ''));
          if (isWrong) writeFileSync(source.file(url), flipped(source.file(url)));
          const to = fresh();
          const place = from === 'here' ? source.dir : await elsewhere(source.dir);
          const { failed } = await copy(place, to, { link });
          const what = `${compression} ${from} ${link} ${isWrong}`;
          if (isWrong && link && from === 'here' && compression === 'none') continue; // shared unread
          assert.deepEqual([...failed.keys()], isWrong ? [lib] : [], what);
          if (isWrong) assert.equal(failed.get(lib)!.code, 'corrupt', what);
          assert.deepEqual(await damageIn(to), [], what);
        }
});

test('what is signed is what was proven, though a server answers otherwise the second time', async () => {
  const source = patientOf();
  const url = source.url('lib');
  source.edit('lib', text => text.replace(/^FileHash: .*\n/m, ''));
  const right = readFileSync(source.file(url));
  const wrong = flipped(source.file(url));
  const server = await elsewhere(source.dir);
  let asked = 0;
  const two: Storage = {
    ...server,
    get: async (name, span): Promise<Found | undefined> =>
      name === url
        ? { size: right.length, bytes: [asked++ === 0 ? right : wrong] }
        : server.get(name, span),
  };
  const to = fresh();
  const { failed, held } = await copy(two, to, { keys: [key] });
  assert.ok(asked > 1);
  assert.deepEqual([[...failed.keys()], held], [[lib], [app]]);
  assert.ok(!existsSync(join(to, source.key('lib'))));
  assert.deepEqual(temporariesIn(to), []);
});

test('a narinfo of another path in the place of one is a conflict, and stays', async () => {
  const source = patientOf();
  const to = patientOf();
  const hash = source.base('lib').slice(0, 32);
  to.edit('lib', text => text.replaceAll(source.base('lib'), `${hash}-other`));
  const before = contentOf(to.dir);
  const { plan, moved, held } = await copy(source.dir, to.dir);
  assert.deepEqual(
    plan.conflicts.map(({ path, other }) => [path, other.slice(11)]),
    [[lib, `${hash}-other`]],
  );
  assert.deepEqual([moved, held], [0, []]);
  assert.deepEqual(contentOf(to.dir), before);
  rmSync(to.file(to.key('app')));
  assert.deepEqual((await copy(source.dir, to.dir)).held, [app], 'what refers to it does not move');
  assert.equal((await copy(source.dir, to.dir, { prefer: 'source' })).moved, 2);
});

test('who closes a cache is recorded before anything needs it, and what belongs to a path comes before its narinfo', async () => {
  const source = patientOf();
  mkdirSync(source.file('log'), { recursive: true });
  const log = `log/${source.base('lib')}.drv`;
  writeFileSync(source.file(log), 'built');
  mkdirSync(source.file('granary'));
  writeFileSync(source.file('granary/closed-by.json'), '["https://source.example"]');
  const memory = memoryStorage();
  const keys: string[] = [];
  const target: Storage = {
    ...memory,
    put: async (name, body) => {
      await memory.put(name, body);
      keys.push(name);
    },
    publish: async entries => {
      for (const { key: name, body } of entries) await target.put(name, body);
    },
  };
  const { sideFiles } = await copy(source.dir, target, {
    exclude: { ...nothingExcluded, paths: new Set([source.base('base')]) },
    closedBy: ['https://base.example'],
  });
  const closedBy = (await target.get('granary/closed-by.json'))!;
  assert.deepEqual(JSON.parse((await collect(closedBy.bytes, 1000))!.toString()), [
    'https://base.example',
    'https://source.example',
  ]);
  assert.equal(sideFiles, 1);
  const first = keys.findIndex(name => name.endsWith('.narinfo'));
  for (const name of ['granary/closed-by.json', log])
    assert.ok(keys.indexOf(name) >= 0 && keys.indexOf(name) < first, name);
});

test('a log of any length comes along, and what is no log that can be read stays behind', async () => {
  const source = patientOf();
  mkdirSync(source.file('log'), { recursive: true });
  const log = `log/${source.base('lib')}.drv`;
  const text = Buffer.alloc(70 << 20, 'all is well\n');
  writeFileSync(source.file(log), text);
  const to = fresh();
  const { sideFiles, failed } = await copy(source.dir, to);
  assert.deepEqual([sideFiles, failed.size], [1, 0]);
  assert.equal(sha256(readFileSync(join(to, log))), sha256(text));
});

test('names that Nix never gave stay where they are', async () => {
  const source = patientOf();
  const realisation = JSON.stringify({
    id: `sha256:${'cd'.repeat(32)}!out`,
    outPath: source.base('lib'),
  });
  mkdirSync(source.file('realisations/x'), { recursive: true });
  for (const name of ['a', 'x/b.doi', `sha256:${'ab'.repeat(32)}!out.doi`])
    writeFileSync(source.file(`realisations/${name}`), realisation);
  const link = JSON.stringify({ archive: `../${source.url('lib')}`, member: 'x' });
  mkdirSync(source.file('debuginfo'), { recursive: true });
  for (const name of ['a', 'b.debug', `${'a'.repeat(40)}.debug.tmp-h-1-1`])
    writeFileSync(source.file(`debuginfo/${name}`), link);
  assert.equal((await copy(source.dir, fresh())).sideFiles, 0);
});

test('a target that fails stops the copy at once; a source that cannot be read fails by itself', async () => {
  const memory = memoryStorage();
  let puts = 0;
  const closed: Storage = {
    ...memory,
    put: async name => {
      puts += 1;
      throw new GranaryError('untrusted', `Cannot write "${name}": the credentials expired`);
    },
    publish: entries => memory.publish(entries),
  };
  await assert.rejects(copy(healthy.cache, closed), { code: 'untrusted', message: /expired/ });
  assert.ok(puts <= 8, `${puts} puts`);

  const source = directoryStorage(healthy.cache);
  const url = new Patient(healthy, healthy.cache).url('lib');
  const bad: Storage = {
    ...source,
    get: async (name, span) => {
      if (name === url) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
      return source.get(name, span);
    },
  };
  const { failed, held, moved } = await copy(bad, memoryStorage());
  assert.deepEqual([[...failed.keys()], held, moved], [[lib], [app], 3]);
  assert.equal(failed.get(lib)!.code, 'unavailable');
  assert.match(failed.get(lib)!.message, /nar\/.* cannot be read: EIO/);
});

test('a source that does not answer is given up', () => {
  const patience = new Patience();
  const down = new GranaryError('unavailable', 'Cannot read x: the connection was refused');
  for (let time = 0; time < 15; time++) patience.failed(down);
  patience.failed(new GranaryError('corrupt', 'Cannot copy y'));
  patience.answered();
  for (let time = 0; time < 15; time++) patience.failed(down);
  assert.throws(() => patience.failed(down), {
    code: 'unavailable',
    message:
      /^Cannot read x: the connection was refused; .* 16 times in a row; run the same command again/,
  });
});

test('what cannot be read here is not called wrong, whichever way it goes', async () => {
  const source = patientOf();
  const bzip2 = Buffer.from('425a6839314159265359', 'hex');
  writeFileSync(source.file(source.url('lib')), bzip2);
  source.field('lib', 'Compression', 'bzip2');
  source.field('lib', 'FileHash', sha256(bzip2));
  source.field('lib', 'FileSize', String(bzip2.length));
  assert.equal((await copy(source.dir, fresh())).failed.size, 0, 'as it is, it moves');
  for (const place of [source.dir, await elsewhere(source.dir)]) {
    const { failed } = await copy(place, fresh(), { keys: [key] });
    assert.equal(failed.get(lib)!.code, 'usage');
    assert.match(failed.get(lib)!.message, /bzip2/);
  }
});
