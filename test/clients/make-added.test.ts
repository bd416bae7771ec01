/**
 * `granary make --add`: plain trees, without Nix, are the paths that `nix store add-path` makes of
 * them, and every Nix installs them with no signature where it asks for signatures.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { sha256 } from '../../src/format/hash.ts';
import { type ListingNode, parseListing } from '../../src/format/nar-listing.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { granary } from '../granary.ts';
import { gitCorpus } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, installs, nix, whyNoClients, whyNoReadOnlyMounts } from './nix.ts';

const skip = await whyNoClients();
const skipMounts = skip || (await whyNoReadOnlyMounts());

const bytes = (text: string): string => Buffer.from(text).toString('latin1');

/** Names, as latin-1, that somebody somewhere reads, sorts or writes wrongly. */
const names = {
  'a bracket, which is a word of the format': ')',
  'more words of the format': 'entry',
  UTF8: bytes('ő'),
  'a byte that is not UTF-8': 'caf\xe9',
  '255 bytes': 'n'.repeat(255),
  'a line break': 'two\nlines',
  'quotes and a backslash': '"\\"',
  'all before it in bytes, not in UTF-16': bytes('\u{ff5e}'),
  'all after it in bytes, not in UTF-16': bytes('\u{1f600}'),
};

/** One of everything, in a folder that clients can read. */
function makeTrees(): Readonly<Record<string, string>> {
  const dir = scratch();
  const at = (...parts: string[]): Buffer => Buffer.from([dir, ...parts].join('/'), 'latin1');
  mkdirSync(at('tree'));
  for (const name of Object.values(names)) {
    writeFileSync(at('tree', name), `content of ${name}`, 'latin1');
    mkdirSync(at('tree', `d${name}`.slice(0, 255)));
    writeFileSync(at('tree', `d${name}`.slice(0, 255), name), '');
  }
  mkdirSync(at('tree/empty folder/one in it'), { recursive: true });
  writeFileSync(at('tree/empty file'), '');
  writeFileSync(at('tree/empty program'), '', { mode: 0o755 });
  writeFileSync(at('tree/program'), '#!/bin/sh\n', { mode: 0o755 });
  writeFileSync(at('tree/of its owner alone'), '#!/bin/sh\n');
  chmodSync(at('tree/of its owner alone'), 0o744);
  writeFileSync(at('tree/of others alone'), 'no program');
  chmodSync(at('tree/of others alone'), 0o655);
  writeFileSync(at('tree/over several blocks'), randomBytes(5_000_001));
  symlinkSync('nowhere', at('tree/dangling'));
  symlinkSync('/', at('tree/root'));
  symlinkSync(Buffer.from('caf\xe9', 'latin1'), at('tree/link to bytes'));
  mkdirSync(at('tree', Array(62).fill('deep').join('/')), { recursive: true });
  mkdirSync(at('nothing'));
  writeFileSync(at('file'), 'a file\n');
  writeFileSync(at('no-bytes'), '');
  writeFileSync(at('program'), '#!/bin/sh\n', { mode: 0o755 });
  symlinkSync('tree', at('link'));
  symlinkSync('/nowhere/at all', at('dangling'));
  mkdirSync(at('no name for a path'));
  return {
    'a tree': `${dir}/tree`,
    'an empty folder': `${dir}/nothing`,
    'a file': `${dir}/file`,
    'an empty file': `${dir}/no-bytes`,
    'a program': `${dir}/program`,
    'a link to a folder': `${dir}/link`,
    'a dangling link': `${dir}/dangling`,
    'a folder under another name': `${dir}/no name for a path=a.name+of_its-own`,
  };
}

describe('added plain trees', { skip }, () => {
  let trees: Readonly<Record<string, string>>;
  let cache: string;
  before(async () => {
    trees = makeTrees();
    cache = join(scratch(), 'cache');
    const added = Object.values(trees).flatMap(tree => ['--add', tree]);
    const made = await granary(['make', '--to', cache, '--listings', ...added]);
    assert.equal(made.code, 0, made.stderr);
  });

  const infos = () =>
    readdirSync(cache)
      .filter(key => key.endsWith('.narinfo'))
      .map(key => parseNarInfo(readFileSync(join(cache, key), 'latin1'), defaultStoreDir));

  test('are the paths, with the NAR hashes and content addresses, that the newest Nix makes', async () => {
    const newest = await nix('newest');
    const store = freshStore();
    const theirs: Record<string, unknown> = {};
    for (const tree of Object.values(trees)) {
      const [file, name] = tree.split('=');
      const args = ['store', 'add-path', file!, ...(name ? ['--name', name] : [])];
      const path = (await newest.check('nix', args, { store })).trim();
      const info = JSON.parse(
        await newest.check('nix', ['path-info', '--json', '--json-format', '1', path], { store }),
      )[path];
      const hash = await newest.check('nix-store', ['-q', '--hash', path], { store });
      theirs[path] = [hash.trim(), info.narSize, info.ca, info.references];
    }
    const ours = infos().map(({ path, narHash, narSize, ca, references }) => [
      path,
      [narHash, narSize, ca, references],
    ]);
    assert.equal(ours.length, Object.keys(trees).length);
    assert.deepEqual(Object.fromEntries(ours), theirs);
  });

  for (const age of ages)
    test(`are installed by the ${age} Nix without a signature where it requires them`, {
      skip: skipMounts,
    }, async () => {
      const one = await nix(age);
      const store = freshStore();
      const options = ['--option', 'require-sigs', 'true'];
      for (const { path, narHash } of infos()) {
        const from = { cache: `file://${cache}`, path, options, store };
        const { real } = await installs(one, from);
        const dump = await one.check('nix-store', ['--dump', real], { store });
        assert.equal(sha256(Buffer.from(dump, 'latin1')), narHash, path);
      }
    });

  test('are the only ones: without content address and signature, no Nix installs a path', {
    skip: skipMounts,
  }, async () => {
    const git = await gitCorpus();
    const unsigned = join(scratch(), 'cache');
    const path = git.paths.find(one => /-libc6-\d/.test(one))!;
    const made = await granary(['make', '--to', unsigned, '--from', git.url, path]);
    assert.equal(made.code, 0, made.stderr);
    const options = ['--option', 'require-sigs', 'true'];
    for (const age of ages) {
      const from = { cache: `file://${unsigned}`, path };
      await assert.rejects(installs(await nix(age), { ...from, options }), / sign/);
      await installs(await nix(age), from);
    }
  });

  test('have listings that keep every byte of their names and targets', () => {
    const key = `${infos()
      .find(({ path }) => path.endsWith('-tree'))!
      .path.slice(11, 43)}.ls`;
    const { entries } = parseListing(readFileSync(join(cache, key), 'latin1')) as Folder;
    assert.deepEqual([...entries.keys()].sort(), readdirSync(trees['a tree']!, 'latin1').sort());
    for (const name of Object.values(names)) {
      assert.equal((entries.get(name) as File).size, `content of ${name}`.length, name);
      const folder = entries.get(`d${name}`.slice(0, 255)) as Folder;
      assert.deepEqual([...folder.entries.keys()], [name]);
    }
    assert.deepEqual(entries.get('link to bytes'), { type: 'symlink', target: 'caf\xe9' });
  });
});

type Folder = Extract<ListingNode, { type: 'directory' }>;
type File = Extract<ListingNode, { type: 'regular' }>;
