/**
 * The daemons of every Nix, as stores: what is made from one is what is made from its database, and
 * what is added to one is what it believes.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  createReadStream,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { codecFor } from '../../src/cache/codec.ts';
import { closureOf } from '../../src/flow/closure.ts';
import { executeMake } from '../../src/flow/make.ts';
import { planMake } from '../../src/flow/plan.ts';
import { generateKey, parseSecretKey } from '../../src/format/key.ts';
import { NarReader } from '../../src/format/nar-read.ts';
import type { NarFile } from '../../src/format/nar-wire.ts';
import { narInfoKey, parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir, type StorePath } from '../../src/format/store-path.ts';
import { directoryStorage } from '../../src/storage/directory.ts';
import { openStore } from '../../src/store/open.ts';
import { resolveRoot } from '../../src/store/roots.ts';
import type { PathToAdd } from '../../src/store/store.ts';
import { contentOf, proofOf } from '../cache/proof.ts';
import { copyForClients, granary } from '../granary.ts';
import { type Corpus, gitCorpus, manyPaths } from './corpus.ts';
import { copyOf, daemonOf, hashesIn, lazily, storeAt } from './daemons.ts';
import { client, scratch } from './kept.ts';
import { ages, freshStore, nix, whyNoClients } from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();

async function made(from: string, root: string, how: readonly string[] = []): Promise<string> {
  const cache = join(scratch(), 'cache');
  const args = ['make', '--from', from, '--to', cache, '--no-flush', ...how, root];
  const { code, stderr } = await granary(args);
  assert.equal(code, 0, stderr);
  return cache;
}

const how = ['--listings', '--jobs', '2'];

/** A copy of git's store, and the cache made of it by its database. */
const git = lazily(async () => {
  const store = await copyOf(await gitCorpus());
  return { store, cache: await made(store.url, store.root, how) };
});

describe('from a daemon', () => {
  for (const age of ages) {
    test(`of the ${age} Nix comes, byte for byte, the cache that comes from its database`, {
      skip,
    }, async t => {
      const { store, cache } = await git();
      const socket = await daemonOf(age, store, t);
      const ours = await made(`unix://${socket}`, store.root, how);
      assert.deepEqual(contentOf(ours), contentOf(cache));
    });

    test(`of the ${age} Nix come the infos that its database holds`, { skip }, async t => {
      const { store } = await git();
      const { version } = await nix(age);
      const many = await copyOf(await manyPaths(100));
      for (const { root, paths, ...corpus } of [store, many]) {
        const local = openStore(corpus.url);
        const ours = storeAt(await daemonOf(age, corpus, t), corpus);
        const path = resolveRoot(root, local);
        const expected = await local.closure!([path]);
        const found = await ours.closure!([path]);
        assert.deepEqual(new Map([...found].sort()), new Map([...expected].sort()));
        assert.deepEqual(await ours.info(path), expected.get(path));
        assert.deepEqual(await ours.byHashPart(basename(path).slice(0, 32)), expected.get(path));
        const absent = resolveRoot(`/nix/store/${'0'.repeat(32)}-absent`, ours);
        assert.equal(await ours.info(absent), undefined);
        assert.equal(await ours.byHashPart('0'.repeat(32)), undefined);
        assert.deepEqual(await ours.valid([path, absent]), new Set([path]));
        assert.equal(paths.length, found.size);
        const { nixVersion, trusted } = await ours.about();
        assert.ok(version.startsWith(nixVersion), nixVersion);
        if (age !== 'oldest' && client) assert.equal(trusted, true, 'root is');
      }
    });

    test(`of the ${age} Nix come all paths but those that are damaged`, { skip }, async t => {
      const store = await copyOf(await manyPaths(100));
      const [gone, changed] = store.paths.filter(path => path !== store.root);
      rmSync(store.real(gone!), { force: true });
      await execute(['sh', '-c', `chmod u+w "$0" && echo other > "$0"`, store.real(changed!)]);
      const socket = await daemonOf(age, store, t);
      const cache = join(scratch(), 'cache');
      const args = ['make', '--from', `unix://${socket}`, '--to', cache, '--no-flush', store.root];
      const { code, stderr } = await granary(args);
      assert.equal(code, 5, stderr);
      for (const path of [gone!, changed!])
        assert.match(stderr, new RegExp(`Cannot [^\n]*${path}`), stderr);
      assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 98 });
    });
  }

  test('a cache is repaired', { skip }, async t => {
    const { store, cache } = await git();
    const damaged = join(scratch(), 'cache');
    await execute(['cp', '-a', cache, damaged]);
    const [file] = readdirSync(join(damaged, 'nar')).filter(name => name.endsWith('.zst'));
    truncateSync(join(damaged, 'nar', file!), 10);
    const socket = await daemonOf('newest', store, t);
    const { code, stderr } = await granary(['repair', '--from', `unix://${socket}`, damaged]);
    assert.equal(code, 0, stderr);
    assert.deepEqual((await proofOf(damaged)).faults, []);
  });

  test('that goes away while a cache is made comes what was complete', { skip }, async t => {
    const { store } = await git();
    const socket = await daemonOf('newest', store, t);
    const from = storeAt(socket, store);
    const storage = directoryStorage(join(scratch(), 'cache'), { flush: false });
    const sources = [{ store: from, roots: [resolveRoot(store.root, from)] }];
    const plan = await planMake(sources, storage, { storeDir: defaultStoreDir, listings: false });
    rmSync(socket);
    const making = executeMake(plan, storage, {
      storeDir: defaultStoreDir,
      compression: 'none',
      level: 0,
      listings: false,
      keys: [],
      cacheInfo: {},
      jobs: 2,
      report: () => {},
    });
    await assert.rejects(making, { code: 'unavailable', message: /Cannot reach the Nix daemon/ });
  });
});

/** A copy of a corpus, with a database that only root may read. */
async function closedCopyOf(corpus: Corpus): Promise<Corpus> {
  const store = await copyOf(corpus);
  const database = join(store.dir, 'nix/var/nix/db');
  chownSync(database, 0, 0);
  chmodSync(database, 0o700);
  return store;
}

const closedGit = lazily(async () => closedCopyOf(await gitCorpus()));
const forClients = lazily(async () => copyForClients());

describe('an ordinary user who may not read the database', () => {
  const notRoot = skip || (client ? false : 'Only root can run a daemon for other users');
  const make = async (root: string, env: NodeJS.ProcessEnv, ...from: readonly string[]) => {
    const { node, folder } = await forClients();
    const cache = join(scratch(), 'cache');
    const argv = [node, join(folder, 'bin/granary.js'), 'make', ...from, '--to', cache];
    const options = ['--no-flush', '--compression', 'none', root];
    return { cache, ...(await execute([...argv, ...options], { user: client, env })) };
  };

  for (const age of ages)
    test(`makes a cache by the daemon of the ${age} Nix, with the hashes of the database`, {
      skip: notRoot,
    }, async t => {
      const { paths, ...store } = await closedGit();
      const socket = await daemonOf(age, store, t);
      const state = join(store.dir, 'nix/var/nix');
      const expected = await hashesIn(age, store, paths);
      for (const [from, env] of [
        [`unix://${socket}`, {}],
        ['daemon', { NIX_DAEMON_SOCKET_PATH: socket }],
        ['auto', { NIX_STATE_DIR: state, NIX_DAEMON_SOCKET_PATH: socket }],
      ] as const) {
        const { cache, code, stderr } = await make(store.root, env, '--from', from);
        assert.equal(code, 0, stderr);
        assert.deepEqual(narHashesIn(cache), expected, from);
        assert.deepEqual(await proofOf(cache), { faults: [], narInfos: paths.length });
      }
      const { code, stderr } = await make(store.root, {}, '--from', store.url);
      assert.equal(code, 8, stderr);
      assert.match(stderr, /Cannot read the Nix database .*: you may not read it/);
    });

  test('is led to the daemon by what Nix reads of the environment', {
    skip: notRoot,
  }, async t => {
    const store = await closedCopyOf(await manyPaths(100));
    const state = join(store.dir, 'nix/var/nix');
    const socket = await daemonOf('newest', store, t);
    for (const env of [
      { NIX_STATE_DIR: state, NIX_DAEMON_SOCKET_PATH: socket },
      { NIX_REMOTE: `unix://${socket}` },
      { NIX_REMOTE: 'daemon', NIX_DAEMON_SOCKET_PATH: socket },
    ]) {
      const { cache, code, stderr } = await make(store.root, env);
      assert.equal(code, 0, stderr);
      assert.deepEqual(await proofOf(cache), { faults: [], narInfos: 101 });
    }
    const without = await make(store.root, { NIX_STATE_DIR: state });
    assert.equal(without.code, 8, without.stderr);
  });
});

/** What the narinfos of a cache say of their NARs, by path. */
const narHashesIn = (cache: string): Map<string, string> =>
  new Map(
    readdirSync(cache)
      .filter(name => name.endsWith('.narinfo'))
      .map(name => readFileSync(join(cache, name), 'latin1'))
      .map(text => [/^StorePath: (.*)$/m.exec(text)![1]!, /^NarHash: (.*)$/m.exec(text)![1]!]),
  );

const key = generateKey('test-1');

/** A small closure of real files, packed and signed: what is to be added, references first. */
const signedPaths = lazily(async (): Promise<PathToAdd[]> => {
  const { store } = await git();
  const from = openStore(store.url);
  const root = store.paths.find(path => /-zlib1g-/.test(path))!;
  const cache = join(scratch(), 'cache');
  const storage = directoryStorage(cache, { flush: false });
  const roots = [resolveRoot(root, from)];
  const options = { storeDir: defaultStoreDir, listings: false };
  await executeMake(await planMake([{ store: from, roots }], storage, options), storage, {
    ...options,
    compression: 'zstd',
    level: 1,
    keys: [parseSecretKey(key.secret, 'test')],
    cacheInfo: {},
    jobs: 2,
    report: () => {},
  });
  const infos = await closureOf(roots, from);
  return infos.map(({ path }) => packed(cache, path));
});

/** A path as a cache has it. */
function packed(cache: string, path: StorePath): PathToAdd {
  const text = readFileSync(join(cache, narInfoKey(path)), 'latin1');
  const { file, text: _, ...info } = parseNarInfo(text, defaultStoreDir);
  const nar = () =>
    codecFor('zstd').decompress(createReadStream(join(cache, file.url)), info.narSize);
  return { info, nar };
}

describe('into a daemon', () => {
  const strict = `require-sigs = true\ntrusted-public-keys = ${key.public}`;

  for (const age of ages) {
    test(`of the ${age} Nix go paths that bear a signature it trusts, again and again`, {
      skip,
    }, async t => {
      const paths = await signedPaths();
      const store = freshStore();
      const ours = storeAt(await daemonOf(age, store, t, strict), store);
      await ours.add(paths);
      await ours.add(paths);
      const named = paths.map(({ info }) => info.path);
      assert.ok(named.length > 2);
      assert.deepEqual(await ours.valid(named), new Set(named));
      for (const { info } of paths) assert.deepEqual(await ours.info(info.path), info);
      const one = await nix(age);
      await one.check('nix-store', ['--verify', '--check-contents'], { store, as: 'self' });

      const more = parseSecretKey(generateKey('other-1').secret, 'test').name;
      const signature = paths[0]!.info.signatures[0]!.replace(/^test-1/, more);
      await ours.sign(named[0]!, [signature as (typeof paths)[0]['info']['signatures'][0]]);
      const { signatures } = (await ours.info(named[0]!))!;
      assert.deepEqual([...signatures].sort(), [signature, ...paths[0]!.info.signatures].sort());
    });

    test(`of the ${age} Nix goes no path that bears none, or one of another key`, {
      skip,
    }, async t => {
      const paths = await signedPaths();
      const store = freshStore();
      const socket = await daemonOf(age, store, t, 'require-sigs = true\ntrusted-public-keys =');
      const ours = storeAt(socket, store);
      const bare = paths.map(({ info, nar }) => ({ info: { ...info, signatures: [] }, nar }));
      for (const some of [bare, paths]) {
        await assert.rejects(ours.add(some), {
          code: 'untrusted',
          message: new RegExp(`the Nix daemon says: .*${paths[0]!.info.path}.*signature`),
        });
        assert.deepEqual(await ours.valid(paths.map(({ info }) => info.path)), new Set());
      }
    });

    test(`of the ${age} Nix goes no NAR that is not what its info says`, { skip }, async t => {
      const [first] = await signedPaths();
      const store = freshStore();
      const ours = storeAt(await daemonOf(age, store, t, strict), store);
      const nar = async function* (): AsyncGenerator<Uint8Array> {
        const bytes = Buffer.concat(await Array.fromAsync(first!.nar()));
        const file = new NarReader()
          .push(bytes)
          .find((event): event is NarFile => event.type === 'file' && event.size > 0);
        bytes[file!.offset]! ^= 1;
        yield bytes;
      };
      await assert.rejects(ours.add([{ info: first!.info, nar }]), {
        code: 'corrupt',
        message: /hash mismatch/,
      });
      assert.equal(await ours.info(first!.info.path), undefined);
    });

    test(`of the ${age} Nix go paths whose names come from their content, unsigned`, {
      skip,
    }, async t => {
      const many = await manyPaths(100);
      const from = openStore(many.url);
      const infos = await closureOf([resolveRoot(many.root, from)], from);
      const cache = await made(many.url, many.root);
      const store = freshStore();
      const ours = storeAt(await daemonOf(age, store, t, strict), store);
      await ours.add(infos.map(({ path }) => packed(cache, path)));
      assert.deepEqual(await ours.info(infos.at(-1)!.path), infos.at(-1));
    });
  }
});
