/**
 * `granary make` from a store with one path that is not what the store says: that path and all that
 * refer to it stay out of the cache, everything else is in it, and the exit status tells.
 */

import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { program } from '../granary.ts';
import { temporaryFolder } from '../temporary.ts';
import { type Corpus, gitCorpus } from './corpus.ts';
import { scratch } from './kept.ts';
import { eventsOf, filesOf } from './made.ts';
import { nix, whyNoClients } from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();

/** Root reads what it may not, but for this. */
const asMortal =
  process.getuid?.() === 0
    ? ['-dac_override,-dac_read_search'].flatMap(which => [
        ...['setpriv', `--inh-caps=${which}`, `--bounding-set=${which}`],
      ])
    : [];

interface Damage {
  /** Does it to a path of the store, and to one of its files, in folders that may be written to. */
  readonly to: (path: string, file: string) => unknown;
  readonly exit: number;
  readonly code: string;
  readonly message: (path: string) => string;
}

const repair = (path: string) => `the store says .* "nix-store --repair-path /nix/store/${path}"`;
const changed = { exit: 5, code: 'corrupt', message: repair };

const damages: Readonly<Record<string, Damage>> = {
  'a byte that is another': {
    ...changed,
    to: (_, file) => {
      const bytes = readFileSync(file);
      bytes[bytes.length - 1]! ^= 1;
      writeFileSync(file, bytes);
    },
  },
  'a file that grew': { ...changed, to: (_, file) => appendFileSync(file, 'more') },
  'a file that is gone': { ...changed, to: (_, file) => unlinkSync(file) },
  'a file that is executable or not, otherwise': {
    ...changed,
    to: (_, file) => chmodSync(file, statSync(file).mode ^ 0o100),
  },
  'nothing left of it': {
    to: path => renameSync(path, `${path}.gone`),
    exit: 3,
    code: 'absent',
    message: path => `Cannot read "." of .*/${path}: it is not there`,
  },
  'a file that may not be read': {
    to: (_, file) => chmodSync(file, 0),
    exit: 8,
    code: 'unavailable',
    message: path => `Cannot read ".+" of .*/${path}: you may not read it`,
  },
  'a named pipe in it': {
    to: async (_, file) => {
      unlinkSync(file);
      await execute(['mkfifo', file]);
    },
    exit: 4,
    code: 'malformed',
    message: path => `Cannot put ".+" of .*/${path} into a NAR: it is a named pipe`,
  },
};

describe('a store where one path has', { skip }, () => {
  const folder = temporaryFolder();
  let git: Corpus;
  let victim: string;
  let referrers: readonly string[];
  let whole: Readonly<Record<string, string>>;

  const make = (url: string, cache: string) => {
    const args = ['make', '--json', '--no-flush', '--compression', 'none', '--from', url];
    return execute([...asMortal, process.execPath, program, ...args, '--to', cache, git.root]);
  };

  before(async () => {
    git = await gitCorpus();
    const cache = join(folder, 'whole');
    const made = await make(git.url, cache);
    assert.equal(made.code, 0, made.stderr);
    whole = filesOf(cache);
    ({ victim, referrers } = await middling(git));
  });

  for (const [what, { to, exit, code, message }] of Object.entries(damages))
    test(`${what} gives a cache without it and its referrers, exit ${exit}`, async t => {
      const [store, path] = await copyOf(git, victim);
      const file = someFile(path);
      for (const one of [path, dirname(file), file]) chmodSync(one, statSync(one).mode | 0o200);
      await to(path, file);

      const cache = join(folder, what);
      t.after(async () => {
        rmSync(cache, { recursive: true });
        // Not the files' modes: they are the corpus' own.
        await execute(['find', store, '-type', 'd', '-exec', 'chmod', 'u+w', '{}', '+']);
        rmSync(store, { recursive: true });
      });
      const result = await make(`${git.url}&real=${encodeURIComponent(store)}`, cache);
      assert.equal(result.code, exit, result.stderr);

      const events = eventsOf(result);
      const errors = events.filter(event => event.type === 'error');
      assert.deepEqual(
        errors.map(error => [error.code, error.facts]),
        [[code, { path: victim }]],
      );
      assert.match(errors[0]!.message!, new RegExp(message(RegExp.escape(basename(victim))), 's'));
      const summary = events.at(-1)!;
      assert.deepEqual([summary.type, summary.ok, summary.exit], ['summary', false, exit]);
      assert.deepEqual(summary.failed, [victim]);
      assert.deepEqual((summary.held as string[]).toSorted(), referrers);

      const published = publishedIn(cache);
      const out = new Set([victim, ...referrers]);
      assert.deepEqual(
        published.map(info => info.path).sort(),
        git.paths.filter(path => !out.has(path)),
      );
      const files = filesOf(cache);
      for (const [name, sum] of Object.entries(files)) assert.equal(sum, whole[name], name);
      for (const { file } of published) assert.ok(files[file.url], file.url);

      const repaired = await make(git.url, cache);
      assert.equal(repaired.code, 0, repaired.stderr);
      assert.equal(eventsOf(repaired).at(-1)!.added, out.size);
      assert.deepEqual(filesOf(cache), whole);
    });
});

const publishedIn = (cache: string) =>
  readdirSync(cache)
    .filter(key => key.endsWith('.narinfo'))
    .map(key => parseNarInfo(readFileSync(join(cache, key), 'latin1'), defaultStoreDir));

/** A path of the middle: some refer to it, by one another too, and others do not. */
async function middling(git: Corpus): Promise<{ victim: string; referrers: readonly string[] }> {
  const newest = await nix('newest');
  const query = async (path: string, what: string): Promise<string[]> =>
    (await newest.check('nix-store', ['-q', what, path], { store: git }))
      .split('\n')
      .filter(one => one && one !== path)
      .sort();
  for (const victim of git.paths) {
    const referrers = await query(victim, '--referrers-closure');
    const direct = await query(victim, '--referrers');
    if (referrers.length > direct.length && referrers.length < git.paths.length / 2)
      return { victim, referrers };
  }
  assert.fail('the corpus has no path of the middle');
}

/** A store directory with the corpus' paths, the victim's as a copy, the rest as links to its files. */
async function copyOf(git: Corpus, victim: string): Promise<readonly [string, string]> {
  const store = scratch();
  const others = git.paths.filter(path => path !== victim).map(git.real);
  const ends = await Promise.all([
    execute(['cp', '-al', ...others, store]),
    execute(['cp', '-a', git.real(victim), store]),
  ]);
  assert.deepEqual(
    ends.map(end => end.stderr),
    ['', ''],
  );
  return [store, join(store, basename(victim))];
}

/** Some file below `path` that has content. */
function someFile(path: string): string {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  const names = entries.filter(each => each.isFile()).map(each => join(each.parentPath, each.name));
  return names.sort().find(name => statSync(name).size > 0)!;
}
