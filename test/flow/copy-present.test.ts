/** What a cache keeps beside its paths comes along for those, too, that the target has already. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { GranaryError } from '../../src/errors.ts';
import { type CopyOptions, executeCopy } from '../../src/flow/copy.ts';
import { type CopyWish, planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { hashPart } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { memoryStorage } from '../../src/storage/memory.ts';
import { bodyOf, type Storage } from '../../src/storage/storage.ts';
import { contentOf, temporariesIn } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { Patient } from './damage.ts';
import { findingsIn } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());

/** A whole cache without anything beside its paths. */
function bare(): Patient {
  const dir = join(temporaryFolder(), 'cache');
  cpSync(healthy.cache, dir, { recursive: true });
  for (const path of Object.values(healthy.paths)) rmSync(join(dir, `${hashPart(path)}.ls`));
  return new Patient(healthy, dir);
}

const listing = (name: Name): string => `${hashPart(healthy.paths[name])}.ls`;
const debug = `debuginfo/${'a'.repeat(40)}.debug`;

function write(to: Patient, key: string, text: string | Buffer): void {
  mkdirSync(dirname(to.file(key)), { recursive: true });
  writeFileSync(to.file(key), text);
}

/** Puts something beside a path; gives its key. */
const kinds: Readonly<Record<string, (to: Patient) => string>> = {
  listing: to => {
    write(to, listing('lib'), readFileSync(join(healthy.cache, listing('lib'))));
    return listing('lib');
  },
  log: to => {
    const key = `log/${to.base('lib')}.drv`;
    write(to, key, 'built');
    return key;
  },
  debuginfo: to => {
    to.link({ archive: `../${to.url('lib')}`, member: 'lib/lib.so' });
    return debug;
  },
  realisation: to => {
    const key = `realisations/sha256:${'ab'.repeat(32)}!out.doi`;
    write(to, key, JSON.stringify({ outPath: to.base('plain') }));
    return key;
  },
};

interface Options extends Partial<CopyWish> {
  readonly recompress?: CopyOptions['recompress'];
}

async function copy(source: Storage, target: Storage, { recompress, ...wish }: Options = {}) {
  const plan = await planCopy(source, target, {
    noClosure: false,
    exclude: nothingExcluded,
    prefer: 'nobody',
    ...wish,
  });
  const done = await executeCopy(plan, source, target, {
    cacheInfo: {},
    keys: [],
    link: false,
    ...(recompress === undefined ? {} : { recompress }),
    closedBy: [],
    jobs: 2,
    report: () => {},
  });
  return { plan, ...done };
}

const near = (to: Patient): Storage => directoryStorage(to.dir, { flush: false });

/** The same, as what is a way to go, and a record of what it is asked. */
function far(storage: Storage): Storage & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    url: 'far:',
    isFar: true,
    asked,
    head: key => {
      asked.push(key);
      return storage.head(key);
    },
    get: (key, span) => {
      asked.push(key);
      return storage.get(key, span);
    },
    put: (key, body) => storage.put(key, body),
    publish: entries => storage.publish(entries),
    list: prefix => {
      asked.push(`list ${prefix}`);
      return storage.list!(prefix);
    },
  };
}

const without = (content: Readonly<Record<string, unknown>>, ...keys: readonly string[]) =>
  Object.fromEntries(Object.entries(content).filter(([key]) => !keys.includes(key)));

test('each kind comes along for a path that is there, once, and nothing else changes', async () => {
  for (const [kind, add] of Object.entries(kinds))
    for (const place of ['near', 'far source', 'far target', 'both far']) {
      if (kind === 'debuginfo' && /source|both/.test(place)) continue; // see below
      const what = `${kind}, ${place}`;
      const [from, to] = [bare(), bare()];
      const key = add(from);
      const before = contentOf(to.dir);
      const source = /source|both/.test(place) ? far(near(from)) : near(from);
      const target = /target|both/.test(place) ? far(near(to)) : near(to);
      const first = await copy(source, target);
      assert.deepEqual([first.moved, first.sideFiles, first.failed.size], [0, 1, 0], what);
      const after = contentOf(to.dir);
      assert.deepEqual(readFileSync(to.file(key)), readFileSync(from.file(key)), what);
      assert.deepEqual(without(after, key), without(before, key), what);
      assert.deepEqual(temporariesIn(to.dir), [], what);
      assert.equal((await copy(source, target)).sideFiles, 0, what);
    }
});

test('nothing that is there is overwritten', async () => {
  for (const [kind, add] of Object.entries(kinds)) {
    const [from, to] = [bare(), bare()];
    write(to, add(from), 'mine');
    const before = contentOf(to.dir);
    assert.equal((await copy(near(from), near(to))).sideFiles, 0, kind);
    assert.deepEqual(contentOf(to.dir), before, kind);
  }
});

test('a debuginfo file leads to the NAR file that the target has', async () => {
  const [from, to] = [bare(), join(temporaryFolder(), 'to')];
  const target = directoryStorage(to, { flush: false });
  await copy(near(from), target, { recompress: { compression: 'gzip', level: 1 } });
  kinds.debuginfo!(from);
  assert.equal((await copy(near(from), target)).sideFiles, 1);
  const link = JSON.parse(readFileSync(join(to, debug), 'utf8'));
  const url = new Patient(healthy, to).url('lib');
  assert.notEqual(url, from.url('lib'));
  assert.deepEqual(link, { archive: `../${url}`, member: 'lib/lib.so' });
});

test('a far source is asked for nothing by name that it does not list, or that the target has', async () => {
  const [from, to] = [bare(), bare()];
  const keys = [kinds.listing!(from), kinds.log!(from)];
  const source = far(near(from));
  const besides = () => source.asked.filter(key => /^log\/.|\.ls$/.test(key));
  assert.equal((await copy(source, near(to))).sideFiles, 2);
  assert.deepEqual(besides().sort(), [...keys].sort());
  source.asked.length = 0;
  assert.equal((await copy(source, near(to))).sideFiles, 0);
  assert.deepEqual(besides(), []);
});

test('of ROOTs of a far source, whose list may be long, what the target has gets nothing', async () => {
  const [from, to] = [bare(), bare()];
  kinds.listing!(from);
  const source = far(near(from));
  assert.equal((await copy(source, near(to), { roots: [healthy.paths.lib] })).sideFiles, 0);
  assert.ok(!source.asked.some(key => /^list|^log\/.|\.ls$/.test(key)), source.asked.join(' '));
  const here = await copy(near(from), near(to), { roots: [healthy.paths.lib] });
  assert.equal(here.sideFiles, 1);
});

test('a path with another NAR, or that is left out, gets nothing; nor does any what is no listing', async () => {
  for (const [spoil, wish] of [
    [(from: Patient) => from.field('lib', 'NarHash', `sha256:${'1'.repeat(52)}`), {}],
    [
      () => {},
      { exclude: { ...nothingExcluded, paths: new Set([new Patient(healthy, '').base('lib')]) } },
    ],
    [(from: Patient) => write(from, listing('lib'), '<html>'), {}],
  ] as const) {
    const [from, to] = [bare(), bare()];
    for (const add of [kinds.listing!, kinds.debuginfo!]) add(from);
    rmSync(from.file(debug));
    spoil(from);
    const before = contentOf(to.dir);
    const { sideFiles, failed } = await copy(near(from), near(to), wish);
    assert.deepEqual([sideFiles, failed.size], [0, 0]);
    assert.deepEqual(without(contentOf(to.dir), 'granary/closed-by.json'), before);
  }
});

test('what cannot be read fails by itself; a target that cannot be written stops all', async () => {
  const [from, to] = [bare(), bare()];
  const [key, log] = [kinds.listing!(from), kinds.log!(from)];
  cpSync(join(healthy.cache, listing('app')), from.file(listing('app')));
  const refusing = (storage: Storage, what: 'get' | 'put'): Storage => ({
    ...storage,
    [what]: async (asked: string, second: never) => {
      if (asked === key) throw new GranaryError('unavailable', `Cannot have "${asked}": no`);
      return storage[what](asked, second);
    },
  });
  const { sideFiles, failed } = await copy(refusing(near(from), 'get'), near(to));
  assert.deepEqual([sideFiles, [...failed.keys()]], [1, [healthy.paths.lib]]);
  assert.equal(failed.get(healthy.paths.lib)?.code, 'unavailable');
  await assert.rejects(copy(near(from), refusing(near(to), 'put')), { code: 'unavailable' });
  assert.equal((await copy(near(from), near(to))).sideFiles, 2, `${key} and ${log}`);
  assert.deepEqual(await findingsIn(to.dir), []);
});

test('paths that move and paths that are there get theirs in one run', async () => {
  const [from, to] = [bare(), join(temporaryFolder(), 'to')];
  const target = directoryStorage(to, { flush: false });
  await copy(near(from), target, { roots: [healthy.paths.lib] });
  const memory = memoryStorage();
  const keys = Object.values(kinds).map(add => add(from));
  for (const key of Object.keys(contentOf(from.dir)))
    await memory.put(key, bodyOf(readFileSync(from.file(key))));
  const { moved, sideFiles } = await copy(memory, target);
  assert.deepEqual([moved, sideFiles], [3, 4]);
  for (const key of keys)
    assert.deepEqual(readFileSync(join(to, key)), readFileSync(from.file(key)));
});

test('the command counts them, and a dry run says that it does not', async () => {
  const [from, to] = [bare(), bare()];
  kinds.listing!(from);
  kinds.log!(from);
  const ends = ['--from', from.dir, '--to', to.dir];
  const planned = await granary(['copy', '--dry-run', ...ends]);
  assert.match(
    planned.stdout,
    /; 5 paths already there \(logs, listings and the like that they lack were not looked for\)\.$/m,
  );
  const done = await granary(['copy', ...ends]);
  assert.match(
    done.stdout,
    /: no new path, 5 paths already there, 2 log or other files came along; /,
  );
  assert.match((await granary(['copy', ...ends])).stdout, /: nothing new, 5 paths already there; /);
});
