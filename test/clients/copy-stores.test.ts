/** `granary copy` with real stores at its ends: out of a daemon into a cache, and from there into others. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { generateKey } from '../../src/format/key.ts';
import { type NarInfo, parseNarInfo } from '../../src/format/narinfo.ts';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { contentOf, proofOf } from '../cache/proof.ts';
import { copyForClients, ended, granary, startGranary } from '../granary.ts';
import { gitCorpus, runInstalled } from './corpus.ts';
import { copyOf, daemonOf, hashesIn, lazily, startDaemon } from './daemons.ts';
import { client, scratch } from './kept.ts';
import { ages, type ClientStore, freshStore, type Nix, nix, whyNoClients } from './nix.ts';
import { execute } from './process.ts';

const skip = await whyNoClients();

const key = generateKey('test-1');
const secret = join(scratch(), 'secret.key');
writeFileSync(secret, key.secret, { mode: 0o644 });
const trusting = `require-sigs = true\ntrusted-public-keys = ${key.public}`;
const trustless = 'require-sigs = true\ntrusted-public-keys =';

const git = lazily(async () => copyOf(await gitCorpus()));

async function copy(code: number, from: string, to: string, ...more: readonly string[]) {
  const ran = await granary(['copy', '--from', from, '--to', to, ...more]);
  assert.equal(ran.code, code, ran.stderr);
  return ran;
}

const forClients = lazily(async () => copyForClients());

/** The same by an ordinary user. */
async function copyAsClient(from: string, to: string, ...more: readonly string[]) {
  const { node, folder } = await forClients();
  const argv = [node, join(folder, 'bin/granary.js'), 'copy', '--from', from, '--to', to];
  return execute([...argv, ...more], { user: client });
}

/** A signed cache of git, out of whatever store. */
async function cacheFrom(from: string): Promise<string> {
  const to = join(scratch(), 'cache');
  await copy(0, from, to, '--no-flush', '--sign', secret, (await git()).root);
  return to;
}
const signedCache = lazily(async () => cacheFrom((await git()).url));

/** That a store holds all of git, with the content that its database tells of, and that it runs. */
async function assertWhole(age: Nix['age'], store: ClientStore): Promise<void> {
  const { paths, root, ...corpus } = await git();
  const expected = await hashesIn('oldest', corpus, paths);
  assert.deepEqual(await hashesIn(age, store, paths), expected);
  const { check } = await nix(age);
  await check('nix-store', ['--verify', '--check-contents'], { store, as: 'self' });
  const { stdout } = await runInstalled(store, `${root}/usr/bin/git`, ['--version']);
  assert.match(stdout, /^git version/);
}

/** The narinfos of a cache. */
const infosIn = (cache: string): readonly NarInfo[] =>
  readdirSync(cache)
    .filter(name => name.endsWith('.narinfo'))
    .map(name => parseNarInfo(readFileSync(join(cache, name), 'latin1'), defaultStoreDir));

describe('out of a daemon, and into another', () => {
  for (const age of ages) {
    test(`of the ${age} Nix come the same signed caches as from the database`, {
      skip,
    }, async t => {
      const { paths, ...store } = await git();
      const cache = await cacheFrom(`unix://${await daemonOf(age, store, t)}`);
      assert.deepEqual(contentOf(cache), contentOf(await signedCache()));
      assert.deepEqual(await proofOf(cache), { faults: [], narInfos: paths.length });
      for (const { signatures } of infosIn(cache)) assert.match(signatures.join(), /^test-1:/);
    });

    test(`of the ${age} Nix goes a signed cache, by a key that it trusts`, { skip }, async t => {
      const { paths, root } = await git();
      const store = freshStore();
      const to = `unix://${await daemonOf(age, store, t, trusting)}`;
      const cache = await signedCache();
      const planned = await copy(0, cache, to, '--dry-run', root);
      assert.match(planned.stdout, new RegExp(`^Would copy ${paths.length} paths `, 'm'));
      const { stdout } = await copy(0, cache, to, root);
      assert.match(
        stdout,
        new RegExp(`: ${paths.length} paths copied, .*, 0 paths already there;`),
      );
      assert.match(stdout, /nix-store --realise .* --add-root/);
      await assertWhole(age, store);
      const again = await copy(0, cache, to, root);
      assert.match(again.stdout, /: nothing new, \d+ paths already there;/);
    });

    test(`of the ${age} Nix goes no cache that it does not trust`, { skip }, async t => {
      const { root, paths } = await git();
      const store = freshStore();
      const to = `unix://${await daemonOf(age, store, t, trustless)}`;
      const { stderr, stdout } = await copy(6, await signedCache(), to, root);
      assert.match(
        stderr,
        /^granary: Cannot put \/nix\/store\/\S+ into unix:\S+: it trusts no key that signed it \(test-1\); put the public key into trusted-public-keys there, or sign it by --sign FILE with a key that is trusted there\.$/m,
      );
      assert.match(stdout, /: nothing new, .* failed, .* held back/);
      assert.deepEqual(
        paths.filter(path => existsSync(store.real(path))),
        [],
      );
    });

    test(`of the ${age} Nix goes nothing of a damaged path, and all that does not need it`, {
      skip,
    }, async t => {
      const { root, paths } = await git();
      const whole = await signedCache();
      for (const isBad of [
        ({ path }: NarInfo) => /-git-[0-9]/.test(path), // big: it is found out in the middle
        ({ narSize }: NarInfo) => narSize < 200_000,
      ]) {
        const cache = join(scratch(), 'cache');
        await execute(['cp', '-a', whole, cache]);
        const bad = infosIn(cache).find(isBad)!;
        truncateSync(join(cache, bad.file.url), bad.file.fileSize! - 10);
        const store = freshStore();
        const to = `unix://${await daemonOf(age, store, t, trusting)}`;
        const { stderr, stdout } = await copy(5, cache, to, '--json', root);
        assert.equal(stderr, '');
        const events = stdout
          .trim()
          .split('\n')
          .map(line => JSON.parse(line));
        const { failed, held, copied } = events.at(-1);
        assert.deepEqual(failed, [bad.path]);
        assert.equal(copied, paths.length - 1 - held.length);
        const error = events.find(({ type }) => type === 'error');
        assert.match(
          error.message,
          new RegExp(`^Cannot copy ${bad.path} from .*nar/.* is not whole|has the hash`),
        );
        const lost = new Set([bad.path, ...held]);
        const { check } = await nix(age);
        const invalid = await check(
          'nix-store',
          ['--check-validity', '--print-invalid', ...paths],
          {
            store,
            as: 'self',
          },
        );
        assert.deepEqual(
          new Set(invalid.trim().split('\n')),
          lost,
          'what Nix left of the broken one is not valid, and goes with the next garbage',
        );
        await check('nix-store', ['--verify', '--check-contents'], { store, as: 'self' });
        await copy(0, whole, to, root);
        await assertWhole(age, store);
      }
    });

    test(`the ${age} Nix serves an ordinary user's store as the refusal to write into that says`, {
      skip,
    }, async t => {
      const store = freshStore();
      const { root } = await git();
      const { stderr } = await copy(2, await signedCache(), store.url, root);
      const told =
        /'(NIX_DAEMON_SOCKET_PATH=(\S+) NIX_REMOTE="(.*)" nix-daemon)'.*"--to unix:\/\/(\S+)"/;
      const [, , socket, remote, to] = told.exec(stderr)!;
      assert.deepEqual([socket, remote], [to, store.url]);
      const env = { NIX_STATE_DIR: undefined }; // what the harness says beside it
      const own = await startDaemon(age, store, t, { config: trusting, env, as: 'client' });
      const done = await copyAsClient(await signedCache(), `unix://${own.socket}`, root);
      assert.equal(done.code, 0, done.stderr);
      await assertWhole(age, store);
    });
  }

  for (const [from, to] of [
    ['oldest', 'newest'],
    ['newest', 'oldest'],
    ['middle', 'middle'],
  ] as const)
    test(`from the ${from} to the ${to} Nix go paths that are signed on the way`, {
      skip,
    }, async t => {
      const { root, ...corpus } = await git();
      const source = `unix://${await daemonOf(from, corpus, t)}`;
      const store = freshStore();
      const target = `unix://${await daemonOf(to, store, t, trusting)}`;
      await copy(6, source, target, root);
      await copy(0, source, target, '--sign', secret, root);
      await assertWhole(to, store);
    });
});

describe('an ordinary user', () => {
  const notRoot = skip || (client ? false : 'Only root can run a daemon for other users');
  for (const age of ages)
    test(`puts into the ${age} Nix what it trusts, and nothing else`, {
      skip: notRoot,
    }, async t => {
      const { root } = await git();
      const store = freshStore();
      const cache = await signedCache();
      const run = async (config: string) =>
        copyAsClient(cache, `unix://${await daemonOf(age, store, t, config)}`, root);
      const refused = await run(trustless);
      assert.equal(refused.code, 6, refused.stderr);
      assert.match(refused.stderr, /it trusts no key that signed it \(test-1\)/);
      const done = await run(trusting);
      assert.equal(done.code, 0, done.stderr);
      await assertWhole(age, store);
    });
});

describe('an import that dies', () => {
  const readySomewhere = async (store: ClientStore, child: { exitCode: number | null }) => {
    const count = () =>
      existsSync(store.real('/nix/store')) ? readdirSync(store.real('/nix/store')).length : 0;
    while (count() < 15) {
      assert.equal(child.exitCode, null, 'it ended before it could be killed');
      await setTimeout(5);
    }
  };

  for (const age of ages)
    test(`is completed by the next, into the ${age} Nix`, { skip }, async t => {
      const { root } = await git();
      const store = freshStore();
      const to = `unix://${await daemonOf(age, store, t, trusting)}`;
      const child = startGranary(['copy', '--from', await signedCache(), '--to', to, root]);
      const end = once(child, 'exit');
      await readySomewhere(store, child);
      child.kill('SIGKILL');
      await end;
      const { stdout } = await copy(0, await signedCache(), to, root);
      const [, copied, present] = /: (\d+) paths copied, .*, (\d+) paths already there;/.exec(
        stdout,
      )!;
      assert.ok(Number(copied) > 0 && Number(present) > 0, stdout);
      await assertWhole(age, store);
    });

  test('since its daemon goes is unavailable, and completed by another daemon', {
    skip,
  }, async t => {
    const { root } = await git();
    const store = freshStore();
    const daemon = await startDaemon('newest', store, t, { config: trusting });
    const to = `unix://${daemon.socket}`;
    const child = startGranary(['copy', '--from', await signedCache(), '--to', to, root]);
    const end = ended(child);
    await readySomewhere(store, child);
    daemon.kill();
    const { code, stderr } = await end;
    assert.deepEqual(
      [code, /Cannot (go on with|reach) the Nix daemon/.test(stderr)],
      [8, true],
      stderr,
    );
    const other = `unix://${await daemonOf('newest', store, t, trusting)}`;
    await copy(0, await signedCache(), other, root);
    await assertWhole('newest', store);
  });
});
