/**
 * What `granary make` makes of a real closure: every Nix installs from it, and it says what Nix's
 * own `nix copy` says.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createReadStream, readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { describe, test } from 'node:test';
import { codecFor } from '../../src/cache/codec.ts';
import { sha256 } from '../../src/format/hash.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { granary } from '../granary.ts';
import { type Corpus, gitCorpus, manyPaths, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import {
  ages,
  clientStore,
  installs,
  type Nix,
  nix,
  whyNoClients,
  whyNoReadOnlyMounts,
} from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();
const skipMounts = skip || (await whyNoReadOnlyMounts());

/** Levels that hold the time of a test run down; what level it is does not matter to a reader. */
const compressions = {
  zstd: [],
  xz: ['--level', '0'],
  gzip: ['--level', '1'],
  br: ['--level', '1'],
  none: [],
} as const;
type Compression = keyof typeof compressions;
const names = Object.keys(compressions) as readonly Compression[];

const caches = new Map<Compression, Promise<string>>();

/** The cache of the git corpus in this compression, made once. */
function gitCache(compression: Compression): Promise<string> {
  const cache = caches.get(compression) ?? makeCache(compression);
  caches.set(compression, cache);
  return cache;
}

async function makeCache(compression: Compression): Promise<string> {
  const how = ['--compression', compression, ...compressions[compression], '--listings'];
  return make(await gitCorpus(), how);
}

async function make({ url, root }: Pick<Corpus, 'url' | 'root'>, how: string[]): Promise<string> {
  const cache = join(scratch(), 'cache');
  const made = await granary(['make', '--from', url, '--to', cache, '--no-flush', ...how, root]);
  assert.equal(made.code, 0, made.stderr);
  return cache;
}

async function installsAndRuns(age: Nix['age'], cache: string, git: string): Promise<void> {
  const { store } = await installs(await nix(age), { cache, path: git });
  const run = await runInstalled(store, `${git}/usr/bin/git`, ['--version']);
  assert.match(run.stdout, /^git version \d/, `${age}: ${run.stderr}`);
}

const keysOf = (cache: string, ending: string): string[] =>
  readdirSync(cache)
    .filter(name => name.endsWith(ending))
    .sort();

const textOf = (cache: string, key: string): string => readFileSync(join(cache, key), 'latin1');

describe('a cache of git', () => {
  for (const compression of names)
    test(`in ${compression} installs from a read-only folder with every Nix, and git runs`, {
      skip: skipMounts,
    }, async () => {
      const { root } = await gitCorpus();
      const cache = `file://${await gitCache(compression)}`;
      await Promise.all(ages.map(age => installsAndRuns(age, cache, root)));
    });

  test('installs over HTTP from a plain static server, and git runs', { skip }, async t => {
    const { root } = await gitCorpus();
    const server = await serve(await gitCache('zstd'));
    t.after(() => server.close());
    const cache = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const some = ['oldest', 'newest'] as const;
    await Promise.all(some.map(age => installsAndRuns(age, cache, root)));
  });

  test('holds in each file the NAR that nix-store --dump gives, and its NarHash', {
    skip,
  }, async () => {
    const git = await gitCorpus();
    const newest = await nix('newest');
    for (const path of git.paths) {
      const args = ['--dump', git.real(path)];
      const dump = Buffer.from(await newest.check('nix-store', args, { store: git }), 'latin1');
      for (const compression of names) {
        const cache = await gitCache(compression);
        const key = `${path.slice(11, 43)}.narinfo`;
        const { narHash, narSize, file } = parseNarInfo(textOf(cache, key), defaultStoreDir);
        const bytes = createReadStream(join(cache, file.url));
        const nar = Buffer.concat(
          await Array.fromAsync(codecFor(compression).decompress(bytes, dump.length)),
        );
        assert.ok(nar.equals(dump), `${path} in ${compression}`);
        assert.deepEqual([narHash, narSize], [sha256(dump), dump.length], path);
        assert.equal(file.compression, compression);
      }
    }
  });

  test('says of each path what the newest Nix says, but for the compressed file', {
    skip,
  }, async () => {
    const git = await gitCorpus();
    const theirs = await nixCopy(git, 'compression=zstd');
    for (const compression of names) {
      const ours = await gitCache(compression);
      const keys = keysOf(ours, '.narinfo');
      assert.deepEqual(keys, keysOf(theirs, '.narinfo'));
      assert.equal(keys.length, git.paths.length);
      for (const key of keys) assert.deepEqual(fields(ours, key), fields(theirs, key));
    }
  });

  test('without compression is byte for byte what the newest Nix writes', { skip }, async () => {
    const theirs = await nixCopy(await gitCorpus(), 'compression=none');
    assertSameFiles(await gitCache('none'), theirs, 'nar');
  });

  test('has the listings that the newest Nix writes, whatever the compression', {
    skip,
  }, async () => {
    const theirs = await nixCopy(await gitCorpus(), 'compression=none&write-nar-listing=true');
    for (const compression of names) {
      const ours = await gitCache(compression);
      assert.deepEqual(keysOf(ours, '.ls'), keysOf(theirs, '.ls'));
      for (const key of keysOf(ours, '.ls'))
        assert.deepEqual(listing(ours, key), listing(theirs, key), key);
    }
  });

  test('is for the store directory that the newest Nix says', { skip }, async () => {
    const theirs = await nixCopy(await gitCorpus(), 'compression=none');
    for (const compression of names)
      assert.equal(
        textOf(await gitCache(compression), 'nix-cache-info'),
        textOf(theirs, 'nix-cache-info'),
      );
  });
});

test('content addresses and signatures are carried as the newest Nix carries them', {
  skip,
}, async () => {
  const many = await manyPaths(100);
  const dir = scratch();
  await execute(['cp', '-a', `${many.dir}/nix`, dir]);
  const store = clientStore(dir);
  const newest = await nix('newest');
  for (const key of ['a-1', 'a', 'b']) {
    const args = ['key', 'generate-secret', '--key-name', key];
    const file = join(dir, key);
    await execute(['tee', file], { input: await newest.check('nix', args) });
    await newest.check('nix', ['store', 'sign', '--all', '--key-file', file], { store });
  }
  const signed = { ...many, ...store };
  const theirs = await nixCopy(signed, 'compression=none');
  const ours = await make(signed, ['--compression', 'none']);
  const text = textOf(ours, `${many.root.slice(11, 43)}.narinfo`);
  assert.equal(text.match(/^Sig: /gm)?.length, 3);
  assert.match(text, /^CA: text:sha256:/m);
  assertSameFiles(ours, theirs, 'nar');
});

/** Our narinfos are theirs, and so are the files in this folder, but for its placeholder. */
function assertSameFiles(ours: string, theirs: string, folder: string): void {
  const keys = keysOf(theirs, '.narinfo');
  assert.deepEqual(keysOf(ours, '.narinfo'), keys);
  for (const key of keys) assert.equal(textOf(ours, key), textOf(theirs, key));
  const files = readdirSync(join(theirs, folder)).sort();
  const found = readdirSync(join(ours, folder)).sort();
  assert.deepEqual(
    found.filter(name => name !== 'KEEP'),
    files,
  );
  for (const file of files) {
    const [our, their] = [ours, theirs].map(cache => readFileSync(join(cache, folder, file)));
    assert.ok(our!.equals(their!), file);
  }
}

const copies = new Map<string, Promise<string>>();

/** What `nix copy` of the newest Nix makes of the corpus with these settings. */
function nixCopy(corpus: Corpus, settings: string): Promise<string> {
  const name = `${corpus.dir} ${settings}`;
  const copy = copies.get(name) ?? copied(corpus, settings);
  copies.set(name, copy);
  return copy;
}

async function copied(corpus: Corpus, settings: string): Promise<string> {
  const cache = join(scratch(), 'cache');
  const args = ['copy', '--to', `file://${cache}?${settings}`, corpus.root];
  await (await nix('newest')).check('nix', args, { store: corpus });
  return cache;
}

const ofTheFile = /^(URL|Compression|FileHash|FileSize): /;

const fields = (cache: string, key: string): string[] =>
  textOf(cache, key)
    .split('\n')
    .filter(line => !ofTheFile.test(line));

/** Up to 2.34 `executable` is there only where it is true, later always. */
const listing = (cache: string, key: string): unknown =>
  JSON.parse(textOf(cache, key), (name, value) =>
    name === 'executable' && value === false ? undefined : value,
  );

/** A server that knows nothing but files. */
async function serve(dir: string): Promise<Server> {
  const server = createServer((request, response) => {
    const file = createReadStream(join(dir, normalize(new URL(request.url!, 'http://h').pathname)));
    file.on('error', () => response.writeHead(404).end());
    file.pipe(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
