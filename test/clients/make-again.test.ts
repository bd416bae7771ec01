/**
 * `granary make` on a cache that is there: it adds what is new, packs anew what is damaged, goes on
 * where it was killed, and the same input gives the same bytes each time and with any `--jobs`.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { granary, startGranary } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { type Corpus, gitCorpus } from './corpus.ts';
import { eventsOf, filesOf } from './made.ts';
import { nix, whyNoClients } from './nix.ts';

const skip = await whyNoClients();

describe('a cache that is made again', { skip }, () => {
  const folder = temporaryFolder();
  let git: Corpus;
  /** Made in one go, with listings, and read only. */
  let whole: string;
  let files: Readonly<Record<string, string>>;

  const make = (cache: string, ...rest: string[]) =>
    granary(['make', '--json', '--no-flush', '--from', git.url, '--to', cache, ...rest]);

  before(async () => {
    git = await gitCorpus();
    whole = join(folder, 'whole');
    const made = await make(whole, '--listings', git.root);
    assert.equal(made.code, 0, made.stderr);
    files = filesOf(whole);
  });

  const packed = (result: Awaited<ReturnType<typeof make>>) =>
    eventsOf(result).filter(event => event.type === 'path' && event.state === 'packed');

  test('from the same roots gets nothing new, is told so, and keeps its very files', async () => {
    const stamps = () =>
      Object.keys(files).map(name => {
        const { ino, mtimeMs } = statSync(join(whole, name));
        return [name, ino, mtimeMs];
      });
    const old = stamps();
    const args = ['make', '--listings', '--from', git.url, '--to', whole, git.root];
    const { code, stdout } = await granary(args);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`: ${git.paths.length} paths, nothing new;`));
    assert.doesNotMatch(stdout, /again/);
    assert.deepEqual(stamps(), old);
    assert.deepEqual(filesOf(whole), files);
  });

  test('with one more root gets the new paths only, and is as if made in one go', async () => {
    const cache = join(folder, 'grown');
    const some = git.paths.find(path => /-libc6-\d/.test(path))!;
    const closure = await (await nix('newest')).check('nix-store', ['-qR', some], { store: git });
    const first = await make(cache, '--listings', some);
    const inIt = closure.trim().split('\n').sort();
    assert.deepEqual(paths(packed(first)), inIt);
    const second = await make(cache, '--listings', some, git.root);
    const rest = git.paths.filter(path => !inIt.includes(path));
    assert.deepEqual(paths(packed(second)), rest);
    assert.ok(packed(second).every(event => event.again === undefined));
    assert.equal(eventsOf(second).at(-1)!.added, rest.length);
    assert.deepEqual(filesOf(cache), files);
  });

  const narFile = (cache: string, narInfo: string): string =>
    join(cache, /^URL: (.*)$/m.exec(readFileSync(narInfo, 'latin1'))![1]!);

  const rewrite = (file: string, pattern: RegExp, by: string): void => {
    const text = readFileSync(file, 'latin1');
    assert.match(text, pattern);
    writeFileSync(file, text.replace(pattern, by), 'latin1');
  };

  /** What happens to one path, and what is said about it. */
  const damages: Readonly<
    Record<string, [(narInfo: string, nar: string, cache: string) => void, RegExp]>
  > = {
    'a NAR file that is gone': [(_, nar) => rmSync(nar), /NAR file nar\/\S+ is missing/],
    'a NAR file that is cut short': [
      (_, nar) => truncateSync(nar, statSync(nar).size - 1),
      /NAR file nar\/\S+ has \d+ bytes instead of \d+/,
    ],
    'an empty narinfo': [narInfo => truncateSync(narInfo), /StorePath is missing/],
    'a narinfo that is cut short': [narInfo => rewrite(narInfo, /\n$/, ''), /no newline/],
    'a narinfo with a broken field': [
      narInfo => rewrite(narInfo, /NarSize: /, 'NarSize: x'),
      /NarSize: "x\d+" is no size/,
    ],
    'a narinfo with another NarHash': [
      narInfo => rewrite(narInfo, /NarHash: .*/, `NarHash: sha256:${'0'.repeat(52)}`),
      /has NarHash sha256:0{52}, the store sha256:/,
    ],
    'a narinfo that does not say how big its file is': [
      narInfo => rewrite(narInfo, /FileSize: .*\n/, ''),
      /does not say how big/,
    ],
    "another path's narinfo": [
      (narInfo, _, cache) => {
        const other = readdirSync(cache).find(
          key => key.endsWith('.narinfo') && join(cache, key) !== narInfo,
        )!;
        writeFileSync(narInfo, readFileSync(join(cache, other)));
      },
      /its narinfo is that of \/nix\/store\//,
    ],
    'a listing that is gone': [
      narInfo => rmSync(narInfo.replace(/narinfo$/, 'ls')),
      /listing is missing/,
    ],
  };

  for (const [what, [damage, message]] of Object.entries(damages))
    test(`with ${what} gets that path again, says why, and is as before`, async () => {
      const narInfo = join(whole, `${git.root.slice(11, 43)}.narinfo`);
      damage(narInfo, narFile(whole, narInfo), whole);
      const result = await make(whole, '--listings', git.root);
      assert.equal(result.code, 0, result.stderr);
      assert.deepEqual(paths(packed(result)), [git.root]);
      assert.match(packed(result)[0]!.again!, message);
      assert.deepEqual(filesOf(whole), files);
    });

  test('with listings, having none so far, gets them all and is otherwise the same', async () => {
    const cache = join(folder, 'without-listings');
    await make(cache, git.root);
    assert.deepEqual(
      filesOf(cache),
      Object.fromEntries(Object.entries(files).filter(([name]) => !name.endsWith('.ls'))),
    );
    const result = await make(cache, '--listings', git.root);
    assert.equal(eventsOf(result).at(-1)!.added, git.paths.length);
    assert.deepEqual(filesOf(cache), files);
  });

  for (const jobs of ['1', '2'])
    test(`after a killed run of ${jobs} jobs is completed, and as if made in one go`, async () => {
      const cache = join(folder, `killed-${jobs}`);
      const args = ['--listings', '--from', git.url, '--to', cache, '--jobs', jobs, git.root];
      const child = startGranary(['make', ...args]);
      const started = () =>
        existsSync(join(cache, 'nar')) && readdirSync(join(cache, 'nar')).length;
      while (child.exitCode === null && Number(started()) < 4) await setTimeout(5);
      child.kill('SIGKILL');
      const [, signal] = await once(child, 'exit');
      assert.equal(signal, 'SIGKILL');
      assert.notDeepEqual(filesOf(cache), files);
      const { code } = await make(cache, '--listings', git.root);
      assert.equal(code, 0);
      assert.deepEqual(filesOf(cache), files);
    });

  test('from a real closure made again, and with other jobs, is the same', async () => {
    for (const jobs of ['1', '2', '3']) {
      const cache = join(folder, `jobs-${jobs}`);
      const { code } = await make(cache, '--listings', '--jobs', jobs, git.root);
      assert.equal(code, 0);
      assert.deepEqual(filesOf(cache), files);
    }
  });
});

const paths = (events: readonly { readonly path?: string }[]): string[] =>
  events.map(event => event.path!).sort();

describe('a cache of the same trees', () => {
  const folder = temporaryFolder();
  const trees = join(folder, 'trees');
  before(() => {
    // Sizes around those of blocks and pieces; what xz is slow with is left short.
    const noise = randomBytes(3_000_000);
    const sizes = [0, 1, 2 ** 20 - 96, 2 ** 21, 2 ** 21 + 1, 5_000_000, 50_000_000];
    mkdirSync(trees);
    for (const [at, size] of sizes.entries()) {
      const content = Buffer.alloc(size, `${at} line ${'of little news '.repeat(200)}\n`);
      noise.copy(content, 2 ** 19);
      writeFileSync(join(trees, `big-${at}`), content);
    }
    for (let at = 0; at < 150; at++) writeFileSync(join(trees, `small-${at}`), `content ${at}`);
  });

  for (const [compression, level] of [
    ['zstd', '3'],
    ['xz', '0'],
    ['gzip', '6'],
    ['br', '1'],
    ['none', undefined],
  ] as const)
    test(`in ${compression} is the same byte for byte by 1, 2 and 3 jobs`, async () => {
      const made = [];
      for (const jobs of ['1', '2', '3']) {
        const cache = join(folder, `${compression}-${jobs}`);
        const added = readdirSync(trees).flatMap(name => ['--add', join(trees, name)]);
        const how = ['--compression', compression, ...(level ? ['--level', level] : [])];
        const args = ['--to', cache, '--listings', '--no-flush', '--jobs', jobs, ...how];
        const { code, stderr } = await granary(['make', ...args, ...added]);
        assert.equal(code, 0, stderr);
        made.push(filesOf(cache));
        rmSync(cache, { recursive: true });
      }
      assert.equal(Object.keys(made[0]!).filter(name => name.endsWith('.ls')).length, 157);
      for (const files of made) assert.deepEqual(files, made[0]);
    });
});
