/** A mirror without some paths: closed, and it says what it lacks. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { executeCopy } from '../../src/flow/copy.ts';
import { type CopyWish, planCopy } from '../../src/flow/copy-plan.ts';
import { nothingExcluded } from '../../src/flow/exclude.ts';
import { type Filter, wanted } from '../../src/flow/filter.ts';
import { sha256 } from '../../src/format/hash.ts';
import { type NarInfo, parseNarInfo, printNarInfo } from '../../src/format/narinfo.ts';
import { baseName, defaultStoreDir, hashPart } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { proofOf } from '../cache/proof.ts';
import { granary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { Patient } from './damage.ts';
import { findingsIn } from './found.ts';
import { makeHealthy, type Name } from './healthy.ts';

const healthy = await makeHealthy(temporaryFolder());
const { paths } = healthy;
const fresh = (): string => join(temporaryFolder(), 'copy');

const stored = (dir: string) => directoryStorage(dir, { flush: false });
const planned = (to: string, wish: Partial<CopyWish>) =>
  planCopy(stored(healthy.cache), stored(to), {
    noClosure: false,
    exclude: nothingExcluded,
    prefer: 'nobody',
    ...wish,
  });

async function copied(to: string, wish: Partial<CopyWish>) {
  const plan = await planned(to, wish);
  await executeCopy(plan, stored(healthy.cache), stored(to), {
    cacheInfo: {},
    keys: [],
    link: false,
    closedBy: [],
    jobs: 1,
    report: () => {},
  });
  return plan;
}

const namesIn = (dir: string): readonly string[] => {
  const keys = new Set(readdirSync(dir));
  return (Object.keys(paths) as Name[]).filter(name =>
    keys.has(`${hashPart(paths[name])}.narinfo`),
  );
};

const sizeOf = (name: Name): number =>
  parseNarInfo(new Patient(healthy, healthy.cache).text(name), defaultStoreDir).file.fileSize!;

test('what is not wanted takes along what refers to it, whatever is asked for', async () => {
  for (const [names, left, lacks] of [
    [['base'], ['twin', 'plain'], ['base', 'lib', 'app']],
    [['l?b'], ['base', 'twin', 'plain'], ['lib', 'app']],
    [['{app,plain}'], ['base', 'lib', 'twin'], ['app', 'plain']],
    [['[a-b]*'], ['twin', 'plain'], ['base', 'lib', 'app']],
    [['nothing', 'LIB', '2*'], ['base', 'lib', 'app', 'twin', 'plain'], []],
    [['*'], [], ['base', 'lib', 'app', 'twin', 'plain']],
  ] as const) {
    const to = fresh();
    const { unwanted } = await copied(to, { filter: { names } });
    assert.deepEqual(namesIn(to), left);
    assert.deepEqual(
      new Set(unwanted.map(({ path }) => path)),
      new Set(lacks.map(name => paths[name])),
    );
    assert.deepEqual((await proofOf(to)).faults, []);
    assert.deepEqual(await findingsIn(to), []);
  }
});

test('a root that needs it is left out whole, with what no other root needs', async () => {
  const filter: Filter = { names: ['lib'] };
  const roots = [paths.app, paths.twin];
  const to = fresh();
  const { unwanted, fileBytes } = await copied(to, { roots, filter });
  assert.deepEqual(namesIn(to), ['twin'], 'base, too, which only app needs');
  assert.deepEqual(unwanted, [
    { path: paths.app, because: paths.lib, size: sizeOf('lib'), name: 'lib' },
  ]);
  assert.equal(fileBytes, sizeOf('twin'));
  const both = fresh();
  await copied(both, { roots: [...roots, paths.base], filter });
  assert.deepEqual(namesIn(both), ['base', 'twin'], 'a root of its own stays');
});

test('a path may be as big as it is allowed to be, and not a byte bigger', async () => {
  const most = Math.max(...(Object.keys(paths) as Name[]).map(sizeOf));
  const biggest = (Object.keys(paths) as Name[]).filter(name => sizeOf(name) === most);
  const none = await planned(fresh(), { filter: { names: [], maxBytes: most } });
  assert.deepEqual([none.moves.length, none.unwanted], [5, []]);
  const some = await planned(fresh(), { filter: { names: [], maxBytes: most - 1 } });
  assert.deepEqual(
    new Set(some.unwanted.map(({ because }) => because)),
    new Set(biggest.map(name => paths[name])),
  );
});

test('what the target has is no hole, and stays', async () => {
  const to = fresh();
  await copied(to, { roots: [paths.lib] });
  const { unwanted } = await copied(to, { filter: { names: ['lib', 'base'] } });
  assert.deepEqual(unwanted, []);
  assert.deepEqual(namesIn(to), ['base', 'lib', 'app', 'twin', 'plain']);
});

test('what another cache has is excluded, and not unwanted', async () => {
  const names = new Set([baseName(paths.lib), baseName(paths.base)]);
  const exclude = { ...nothingExcluded, paths: names };
  const { unwanted, moves } = await planned(fresh(), { exclude, filter: { names: ['lib'] } });
  assert.deepEqual([unwanted, moves.length], [[], 3]);
});

const infoOf = (at: number, references: readonly number[]): NarInfo => {
  const path = (number: number) =>
    `${defaultStoreDir}/${String(number).padStart(32, '0')}-${number % 3 === 0 ? 'bad' : 'good'}`;
  const text = printNarInfo(
    {
      path: path(at) as NarInfo['path'],
      narHash: sha256(`${at}`),
      narSize: 120,
      references: references.map(at => path(at) as NarInfo['path']),
      signatures: [],
    },
    { url: `nar/${at}.nar`, compression: 'none', fileSize: 100 + at },
  );
  return parseNarInfo(text, defaultStoreDir);
};

/** Paths that refer to earlier ones, and some of them as roots. */
const graphs = fc
  .array(fc.array(fc.nat(), { maxLength: 3 }), { minLength: 1, maxLength: 30 })
  .map(rows =>
    rows.map((row, at) => infoOf(at, at === 0 ? [] : [...new Set(row.map(each => each % at))])),
  )
  .chain(infos => fc.record({ infos: fc.constant(infos), roots: fc.subarray(infos) }));

test('whatever refers to whatever: what is left is closed, has nothing unwanted, and all that a clean root needs', () => {
  fc.assert(
    fc.property(graphs, fc.boolean(), fc.nat(130), ({ infos, roots }, all, maxBytes) => {
      const byPath = new Map(infos.map(info => [info.path, info]));
      const filter = { names: ['bad'], maxBytes };
      const isBad = ({ path, file }: NarInfo): boolean =>
        path.endsWith('-bad') || file.fileSize! > maxBytes;
      const closure = (info: NarInfo): readonly NarInfo[] => [
        info,
        ...info.references.flatMap(path => closure(byPath.get(path)!)),
      ];
      const asked = all ? infos : roots;
      const clean = asked.filter(root => !closure(root).some(isBad));
      const { moves, unwanted } = wanted(
        infos.map(info => ({ info })),
        filter,
        { infos: byPath, roots: all ? undefined : roots.map(({ path }) => path) },
      );
      assert.deepEqual(
        new Set(unwanted.map(({ path }) => path)),
        new Set(asked.filter(root => !clean.includes(root)).map(({ path }) => path)),
      );
      for (const { path, because } of unwanted) {
        const cause = closure(byPath.get(path)!).find(info => info.path === because);
        assert.ok(cause && isBad(cause), `${path} needs ${because}`);
      }
      if (unwanted.length === 0 && !all) return; // nothing was asked for in vain: all of the closure moves
      assert.deepEqual(
        new Set(moves.map(({ info }) => info.path)),
        new Set(clean.flatMap(closure).map(({ path }) => path)),
      );
    }),
  );
});

test('the command plans with sizes, leaves out with exit 0, and says what it cannot understand', async () => {
  const to = fresh();
  const args = ['copy', '--from', healthy.cache, '--to', to, baseName(paths.app), paths.twin];
  const plan = await granary([...args, '--dry-run', '--without', 'l*b']);
  assert.equal(plan.code, 0, plan.stderr);
  assert.ok(
    plan.stdout.includes(
      `${sizeOf('lib')} B  ${paths.app}  (left out: it needs ${paths.lib}, which matches l*b)\n`,
    ),
    plan.stdout,
  );
  assert.match(plan.stdout, /^Would copy 1 path .*, 1 root left out for 1 path not wanted\.$/m);
  const events = await granary([...args, '--json', '--max-size', '1B']);
  assert.equal(events.code, 0);
  const lines = events.stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  const states = lines.filter(({ state }) => state === 'unwanted');
  assert.deepEqual(
    states,
    (['app', 'twin'] as const).map(name => ({
      type: 'path',
      path: paths[name],
      state: 'unwanted',
      because: paths[name],
      size: sizeOf(name),
    })),
  );
  const { unwanted, copied: count, ok } = lines.at(-1);
  assert.deepEqual([unwanted, count, ok], [2, 0, true]);
  for (const [words, message] of [
    [['--without', 'a/b'], /--without a\/b: it takes a pattern of names/],
    [['--max-size', 'big'], /--max-size big: it takes a size/],
    [['--max-size', '-1'], /--max-size -1/],
    [['--max-size', '1XB'], /--max-size 1XB/],
  ] as const) {
    const { code, stderr } = await granary([...args, ...words]);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});
