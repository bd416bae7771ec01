/** The Nix of every age behind a real sshd, as a store: what it has, and what it is given. */
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ended, startGranary } from '../granary.ts';
import { gitCorpus, runInstalled } from './corpus.ts';
import { scratch } from './kept.ts';
import { ages, freshStore, nix, whyNoClients } from './nix.ts';
import { nixStoreThere, sshd, whyNoSshd } from './sshd.ts';

const skip = (await whyNoClients()) || (await whyNoSshd());
const granary = async (args: readonly string[], env?: NodeJS.ProcessEnv) =>
  ended(startGranary(args, [], env ?? (await sshd()).env));
const there = async (program: string): Promise<string> =>
  `${(await sshd()).url}?remote-program=${encodeURIComponent(program)}`;

const filesOf = (cache: string): ReadonlyMap<string, string> =>
  new Map(
    readdirSync(cache, { recursive: true, withFileTypes: true })
      .filter(entry => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .map(file => [file.slice(cache.length), readFileSync(file, 'latin1')] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

for (const age of ages)
  describe(`the ${age} Nix behind ssh`, { skip }, () => {
    test('gives what its database says: the cache is the same', async () => {
      const git = await gitCorpus();
      const [near, far] = [join(scratch(), 'near'), join(scratch(), 'far')];
      const from = await there(nixStoreThere(await nix(age), git));
      for (const [store, to] of [
        [git.url, near],
        [from, far],
      ] as const) {
        const made = await granary(['make', '--no-flush', '--from', store, '--to', to, git.root]);
        assert.equal(made.code, 0, made.stderr);
      }
      assert.deepEqual(filesOf(far), filesOf(near));
    });

    test('is asked for a path by its base name, and says that it finds none by a hash part', async () => {
      const git = await gitCorpus();
      const from = await there(nixStoreThere(await nix(age), git));
      const name = git.root.slice(git.root.lastIndexOf('/') + 1);
      const found = await granary(['info', from, name]);
      assert.equal(found.code, 0, found.stderr);
      assert.ok(found.stdout.startsWith(`${git.root}\n`));
      for (const [word, code, message] of [
        [`${'9'.repeat(32)}-none`, 3, /Cannot find 9+-none in the store ssh:/],
        [name.slice(0, 32), 2, /over ssh, name the whole store path or its base name/],
      ] as const) {
        const ran = await granary(['info', from, word]);
        assert.equal(ran.code, code, ran.stderr);
        assert.match(ran.stderr, message);
      }
    });

    test('takes a closure, whole and valid, and no other NAR than was promised', async () => {
      const git = await gitCorpus();
      const peer = await nix(age);
      const store = freshStore();
      const to = await there(nixStoreThere(peer, store));
      const cache = join(scratch(), 'cache');
      await granary(['make', '--no-flush', '--from', git.url, '--to', cache, git.root]);
      const copied = await granary(['copy', '--from', cache, '--to', to, git.root]);
      assert.equal(copied.code, 0, copied.stderr);
      assert.match(copied.stdout, new RegExp(`${git.paths.length} paths copied`));
      const hashes = ['-q', '--hash', ...git.paths];
      assert.equal(
        await peer.check('nix-store', hashes, { store }),
        await peer.check('nix-store', hashes, { store: git }),
      );
      await peer.check('nix-store', ['--verify', '--check-contents'], { store });
      const run = await runInstalled(store, `${git.root}/usr/bin/git`, ['--version']);
      assert.match(run.stdout, /^git version \d/, run.stderr);
      const again = await granary(['copy', '--from', cache, '--to', to, git.root]);
      assert.match(again.stdout, /nothing new/);

      const small = git.paths.find(path => /-zlib1g-/.test(path))!;
      const info = join(cache, `${small.slice(11, 43)}.narinfo`);
      const file = join(cache, /^URL: (.*)$/m.exec(readFileSync(info, 'latin1'))![1]!);
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1]! ^= 1;
      writeFileSync(file, bytes);
      const fresh = freshStore();
      const second = await there(nixStoreThere(peer, fresh));
      const refused = await granary(['copy', '--from', cache, '--to', second, small]);
      assert.equal(refused.code, 5, refused.stdout + refused.stderr);
      assert.match(refused.stderr, /zlib1g/);
      const valid = await peer.run('nix-store', ['-q', '--hash', small], { store: fresh });
      assert.notEqual(valid.code, 0, 'nothing of it is valid there');
    });
  });

test('a path whose files are gone there stays behind alone, and is named', { skip }, async () => {
  const peer = await nix('newest');
  const store = freshStore();
  const files = [join(scratch(), 'one'), join(scratch(), 'two')];
  const paths: string[] = [];
  for (const file of files) {
    writeFileSync(file, file);
    chmodSync(file, 0o644);
    paths.push((await peer.check('nix-store', ['--add', file], { store })).trim());
  }
  rmSync(store.real(paths[0]!), { force: true });
  const from = await there(nixStoreThere(peer, store));
  const cache = join(scratch(), 'cache');
  const { code, stderr } = await granary(['make', '--from', from, '--to', cache, ...paths]);
  assert.equal(code, 5, stderr);
  assert.match(stderr, /-one/);
  assert.doesNotMatch(stderr, /install Nix|this is a bug/);
  assert.deepEqual(
    readdirSync(cache).filter(name => name.endsWith('.narinfo')),
    [`${paths[1]!.slice(11, 43)}.narinfo`],
  );
});

/** A program on the other side that is no nix-store. */
function other(script: string): string {
  const file = join(scratch(), 'program');
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}

describe('what is wrong with the other side is one sentence', { skip }, () => {
  const path = `/nix/store/${'0'.repeat(32)}-x`;
  const make = async (from: string, env?: NodeJS.ProcessEnv) => {
    const to = join(scratch(), 'cache');
    const { code, stderr } = await granary(['make', '--from', from, '--to', to, path], env);
    assert.doesNotMatch(stderr, /this is a bug/);
    return [code, stderr] as const;
  };

  for (const [what, script, exit, message] of [
    [
      'prints something at login',
      'echo "Welcome to Debian"; exec cat',
      4,
      /it says "Welcome …".*print nothing/,
    ],
    [
      'ends at once',
      'echo "error: out of tea" >&2; exit 1',
      8,
      /ssh:.*out of tea.*run the same command again/,
    ],
    ['has no Nix', 'exec /no/such/nix-store', 3, /not found.*remote-program/],
    [
      'speaks an old protocol',
      "printf '\\313\\356\\122\\124\\0\\0\\0\\0\\004\\002\\0\\0\\0\\0\\0\\0'; exec cat >&2",
      2,
      /version 2\.4/,
    ],
  ] as const)
    test(`it ${what}`, async () => {
      const [code, said] = await make(await there(other(script)));
      assert.match(said, message);
      assert.equal(code, exit);
    });

  test('it lets us not in', async () => {
    const { url, strange } = await sshd();
    const [code, said] = await make(url, strange);
    assert.match(said, /Permission denied.*ssh-key=/);
    assert.equal(code, 2);
  });

  test('nobody listens there', async () => {
    const [code, said] = await make('ssh://127.0.0.1:1');
    assert.match(said, /Connection refused/);
    assert.equal(code, 8);
  });

  test('there is no ssh here', async () => {
    const [code, said] = await make('ssh://127.0.0.1', { PATH: '/nowhere' });
    assert.match(said, /no ssh on this machine/);
    assert.equal(code, 3);
  });

  for (const [url, message] of [
    ['ssh://', /names no host/],
    ['ssh://-oProxyCommand=x', /no host/],
    ['ssh://host/path', /remote-store/],
    ['ssh://user:pw@host', /password/],
    ['ssh://host?remote-progam=x', /unknown parameter "remote-progam"/],
  ] as const)
    test(`${url} is refused`, async () => {
      const [code, said] = await make(url);
      assert.match(said, message);
      assert.equal(code, 2);
    });
});

test('it goes in the middle of a NAR: told, and the next run completes', { skip }, async () => {
  const git = await gitCorpus();
  const real = nixStoreThere(await nix('newest'), git);
  const from = await there(other(`"${real}" "$@" | dd bs=65536 count=40 status=none`));
  const to = join(scratch(), 'cache');
  const broken = await granary(['make', '--no-flush', '--from', from, '--to', to, git.root]);
  assert.equal(broken.code, 8, broken.stdout + broken.stderr);
  const whole = await there(real);
  const completed = await granary(['make', '--no-flush', '--from', whole, '--to', to, git.root]);
  assert.equal(completed.code, 0, completed.stderr);
  assert.equal((await granary(['verify', '--strict', to])).code, 0);
});

test('a host that lets few in at once is asked again', { skip }, async () => {
  const git = await gitCorpus();
  const from = await there(nixStoreThere(await nix('newest'), git));
  const makes = Array.from({ length: 4 }, () =>
    granary([
      'make',
      '--no-flush',
      '--jobs',
      '4',
      '--from',
      from,
      '--to',
      join(scratch(), 'cache'),
      git.root,
    ]),
  );
  for (const made of await Promise.all(makes)) assert.equal(made.code, 0, made.stderr);
});
